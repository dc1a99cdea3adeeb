"""The drain is killed, its database goes away: nothing is lost and nothing is there twice."""

import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from journal.drain import IDLE, LONGEST_PAUSE, Drain
from journal.migrate import migrate
from journal.segment import segment_paths
from journal.spool import Writer
from journal.store import JournalStore

# Drains in small batches until it is killed. With a third argument it kills itself between a commit and what follows from it,
# each time after one more batch.
DRAIN = """
import os, signal, sys, time
from pathlib import Path
from journal.drain import Drain
from journal.store import JournalStore
store = JournalStore(sys.argv[2])
left = int(sys.argv[3]) if len(sys.argv) > 3 else None
insert = store.insert
def insert_and_die(*arguments):
    global left
    insert(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
if left is not None:
    store.insert = insert_and_die
drain = Drain(Path(sys.argv[1]), store, batch=50)
print("ready", flush=True)
while True:
    if not drain.turn():
        time.sleep(0.01)
"""
SECONDS = 30.0


def test_a_drain_that_is_killed_between_commit_and_removal_doubles_nothing(
    spool: Path, store: JournalStore, url: str, in_store, wait_for, fill
) -> None:
    fill(spool, range(400))
    kills = 0
    while segment_paths(spool) and kills < 60:
        argv = (sys.executable, "-c", DRAIN, str(spool), url, str(1 + kills % 3))
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            wait_for(lambda process=process: process.poll() is not None or not segment_paths(spool))
            process.kill()
        kills += 1
    assert 4 <= kills < 60
    assert in_store(store) == list(range(400))


def test_a_drain_that_is_killed_at_any_time_loses_nothing(
    spool: Path, store: JournalStore, url: str, settle, in_store, fill
) -> None:
    written = 0
    for attempt in range(6):
        with subprocess.Popen((sys.executable, "-c", DRAIN, str(spool), url), stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            fill(spool, range(written, written + 500))
            written += 500
            time.sleep(0.013 * attempt)
            process.send_signal(signal.SIGKILL)
    settle(Drain(spool, store))
    assert in_store(store) == list(range(written))


def test_a_server_that_is_away_for_a_while_is_waited_for(
    spool: Path, postgresql, click, caplog: pytest.LogCaptureFixture, settle, in_store, wait_for
) -> None:
    caplog.set_level(logging.INFO)
    url = postgresql.database()
    migrate(url)
    store = JournalStore(url)
    drain, stop, written, failures = Drain(spool, store), threading.Event(), [0], []

    def write() -> None:
        writer = Writer(spool, "test", segment_size=20_000)
        try:
            while not stop.is_set():
                writer.append([click(written[0])], durable=written[0] % 50 == 0)
                written[0] += 1
                stop.wait(0.0005)
        except BaseException as error:
            failures.append(error)
        finally:
            writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in (signal.SIGINT, signal.SIGQUIT):
            before = written[0]
            wait_for(lambda before=before: drain.turn() > 0 and written[0] > before + 100)
            postgresql.stop(number)
            pauses = []
            wait_for(lambda pauses=pauses: drain.turn() == 0 and not pauses.append(drain.pause) and len(pauses) > 8)
            assert pauses == sorted(pauses)
            assert pauses[-1] == LONGEST_PAUSE
            before = written[0]
            wait_for(lambda before=before: written[0] > before + 200)
            postgresql.start()
    finally:
        stop.set()
        thread.join()
    settle(drain)
    assert failures == []
    assert in_store(store) == list(range(written[0]))
    assert caplog.text.count("the journal waits in") == 2
    assert caplog.text.count("the journal is written again") == 2
    assert segment_paths(spool) == []
    store.close()


def test_a_full_or_locked_database_is_waited_for(spool: Path, small_disk: Path, settle, in_store, fill) -> None:
    url = f"sqlite:///{small_disk / 'journal.db'}"
    migrate(url)
    store = JournalStore(url)
    drain = Drain(spool, store)
    fill(spool, range(100))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    assert drain.turn() == 0
    assert drain.pause > IDLE
    filler.unlink()
    assert settle(drain) == 100
    other = sqlite3.connect(small_disk / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fill(spool, range(100, 110))
    assert drain.turn() == 0
    other.execute("ROLLBACK")
    other.close()
    assert settle(drain) == 10
    assert in_store(store) == list(range(110))
    assert segment_paths(spool) == []
    store.close()
