"""The process that fills the journal's database: it drains, prunes, waits for a server and stops when it is told to."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from journal.records import MessageRecord, VisitKind, VisitRecord
from journal.spool import Writer
from journal.store import JournalStore
from smtpeter import database
from smtpeter.__main__ import run
from smtpeter.draining import DAY, Pruning
from smtpeter.settings import Settings

NOON = 1_700_049_600  # 2023-11-15 12:00:00 UTC
MESSAGE = MessageRecord(
    id="00112233445566778a",
    time=NOON,
    login="f" * 32,
    account="shop",
    envelope="bounces@example.com",
    recipient="reader@example.net",
    queue_id="4abc",
    message_id="<1@example.com>",
    properties=("trackclicks",),
    tags=("spring", "sale"),
    decisions=(),
)
CLICK = VisitRecord(
    kind=VisitKind.CLICK,
    message=MESSAGE.id,
    time=NOON + 60,
    number=1,
    url="https://clicks.example.com/a-x",
    destination="https://example.com/a",
    ip="192.0.2.0",
    protocol="https",
    headers="Host: clicks.example.com\nUser-Agent: =cmd",
    machine=False,
)
SECONDS = 30.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data=tmp_path / "data")
    database.prepare(found)
    return found


@pytest.fixture
def store(settings: Settings) -> JournalStore:
    found = database.open_journal(settings)
    yield found
    found.close()


def wait_for(happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.02)


def serve(settings: Settings) -> "subprocess.Popen[bytes]":
    argv = (sys.executable, "-m", "smtpeter", "--data", str(settings.data), "journal", "serve")
    return subprocess.Popen(argv, stderr=subprocess.PIPE)


def test_the_process_drains_prunes_and_stops(settings: Settings, store: JournalStore) -> None:
    store.insert([("s-old", CLICK)])
    writer = Writer(settings.spool, "test")
    now = int(time.time())
    with serve(settings) as process:
        writer.append([replace(MESSAGE, time=now)], durable=True)
        wait_for(lambda: store.counts() == {"messages": 1, "copies": 0, "visits": 0})
        second = serve(settings)
        assert b"another process drains" in second.communicate(timeout=SECONDS)[1]
        assert second.returncode == 2
        writer.append([replace(CLICK, time=now)] * 3, durable=True)
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0
    assert store.counts() == {"messages": 1, "copies": 0, "visits": 3}
    assert b"1 records older than 365 days removed" in log
    assert b"Traceback" not in log
    writer.close()


def test_a_server_that_is_away_stops_neither_the_start_nor_the_records(
    tmp_path: Path, postgresql, capfd: pytest.CaptureFixture[str]
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
    writer.append([replace(MESSAGE, time=int(time.time()))], durable=True)
    argv = (sys.executable, "-m", "smtpeter", "--settings", str(file), "journal", "serve")
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        assert b"waits for its database" in process.stderr.readline()
        postgresql.start()
        store = JournalStore(url)
        wait_for(lambda: store.messages_by(id=MESSAGE.id) != ())
        process.terminate()
        assert process.wait(SECONDS) == 0
    store.close()
    writer.close()


def test_pruning_comes_once_a_day_and_in_pieces(store: JournalStore) -> None:
    pruning = Pruning(store, 100)
    store.insert((f"s-{number}", replace(CLICK, time=1)) for number in range(12_000))
    assert [pruning.step(1_000.0, 5.0) for _ in range(4)] == [True, True, True, False]
    assert store.counts()["visits"] == 0
    store.insert([("s-1", replace(CLICK, time=1))])
    assert not pruning.step(1_000.0, 5.0 + DAY / 2)
    assert store.counts()["visits"] == 1
    assert pruning.step(1_000.0, 5.0 + DAY)
    assert not Pruning(store, 0).step(1_000.0, 5.0)
