"""The process that fills the journal's database: it drains, prunes, waits for a server and stops when it is told to."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from journal.spool import Writer
from journal.store import JournalStore
from smtpeter.__main__ import run
from smtpeter.draining import DAY, Pruning
from smtpeter.settings import Settings

SECONDS = 30.0


def serve(settings: Settings) -> "subprocess.Popen[bytes]":
    argv = (sys.executable, "-m", "smtpeter", "--data", str(settings.data), "journal", "serve")
    return subprocess.Popen(argv, stderr=subprocess.PIPE)


def test_the_process_drains_prunes_and_stops(settings: Settings, store: JournalStore, mailed, clicked, wait_for) -> None:
    store.insert([("s-old", clicked)])
    writer = Writer(settings.spool, "test")
    now = int(time.time())
    with serve(settings) as process:
        writer.append([replace(mailed, time=now)], durable=True)
        wait_for(lambda: store.counts() == {"messages": 1, "copies": 0, "visits": 0})
        second = serve(settings)
        assert b"another process drains" in second.communicate(timeout=SECONDS)[1]
        assert second.returncode == 2
        writer.append([replace(clicked, time=now)] * 3, durable=True)
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0
    assert store.counts() == {"messages": 1, "copies": 0, "visits": 3}
    assert b"1 records older than 365 days removed" in log
    assert b"Traceback" not in log
    writer.close()


def test_a_server_that_is_away_stops_neither_the_start_nor_the_records(
    tmp_path: Path, postgresql, capfd: pytest.CaptureFixture[str], mailed, wait_for
) -> None:
    url = postgresql.database().replace("+psycopg", "")
    data = tmp_path / "data"
    file = tmp_path / "smtpeter.toml"
    file.write_text(f'data = "{data}"\n[journal]\ndatabase = "{url}"\n')
    settings = Settings(data=data, journal={"database": url})
    words = ("--settings", str(file), "account", "add")
    assert run([*words, "first"]) == 0  # makes the key ring; a lost one is told by the journal
    postgresql.stop()
    assert run([*words, "shop"]) == 0
    assert "the journal waits in" in capfd.readouterr().err
    writer = Writer(settings.spool, "test")
    writer.append([replace(mailed, time=int(time.time()))], durable=True)
    argv = (sys.executable, "-m", "smtpeter", "--settings", str(file), "journal", "serve")
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        assert b"waits for its database" in process.stderr.readline()
        postgresql.start()
        store = JournalStore(url)
        wait_for(lambda: store.messages_by(id=mailed.id) != ())
        process.terminate()
        assert process.wait(SECONDS) == 0
    store.close()
    writer.close()


def test_pruning_comes_once_a_day_and_in_pieces(store: JournalStore, clicked, tmp_path: Path) -> None:
    pruning = Pruning(store, tmp_path, 100)
    store.insert((f"s-{number}", replace(clicked, time=1)) for number in range(12_000))
    assert [pruning.step(1_000.0, 5.0) for _ in range(4)] == [True, True, True, False]
    assert store.counts()["visits"] == 0
    store.insert([("s-1", replace(clicked, time=1))])
    assert not pruning.step(1_000.0, 5.0 + DAY / 2)
    assert store.counts()["visits"] == 1
    assert pruning.step(1_000.0, 5.0 + DAY)
    assert not Pruning(store, tmp_path, 0).step(1_000.0, 5.0)


def test_what_was_set_aside_goes_with_its_time(store: JournalStore, tmp_path: Path) -> None:
    (tmp_path / "refused").mkdir()
    old, new, damaged, segment = (
        tmp_path / name for name in ("refused/old.jsonl", "refused/new.jsonl", "x.log.damaged", "y.log")
    )
    for path, written in ((old, 800), (new, 950), (damaged, 800), (segment, 800)):
        path.write_bytes(b"x")
        os.utime(path, (written, written))
    Pruning(store, tmp_path, 100).step(1_000.0, 5.0)
    assert [path.exists() for path in (old, new, damaged, segment)] == [False, True, False, True]
