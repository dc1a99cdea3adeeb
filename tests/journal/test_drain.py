"""From the spool to the database: everything, once, whatever stops on the way."""

import fcntl
import os
import threading
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from journal.drain import BATCH, IDLE, Drain, waiting
from journal.records import CopyRecord
from journal.segment import frame, segment_paths
from journal.spool import Writer
from journal.store import JournalStore


def test_every_kind_of_record_arrives_and_the_segment_goes(spool: Path, store: JournalStore, click, make_message, settle) -> None:
    message = make_message(envelope="", message_id="", properties=())
    copied = CopyRecord(message=message.id, time=2, queue_id="r", decisions=())
    writer = Writer(spool, "test")
    writer.append([message, copied, click()], durable=True)
    drain = Drain(spool, store)
    assert settle(drain) == 3
    assert len(segment_paths(spool)) == 1  # its writer may go on
    assert (store.messages_by(id=message.id), store.copies_of([message.id])) == ((message,), (copied,))
    assert store.visits_of([message.id]) == (click(),)
    writer.close()
    assert settle(drain) == 0
    assert segment_paths(spool) == []
    settle(drain)
    assert store.counts() == {"messages": 1, "copies": 1, "visits": 1}


def test_a_segment_is_read_as_it_grows(spool: Path, store: JournalStore, click, in_store) -> None:
    writer, drain = Writer(spool, "test"), Drain(spool, store)
    for number in range(1, 6):
        writer.append([click(number)], durable=False)
        assert drain.turn() == 1
        assert drain.turn() == 0
        assert drain.pause == IDLE
    assert in_store(store) == [1, 2, 3, 4, 5]
    writer.close()


def test_a_batch_is_bounded_and_the_oldest_come_first(spool: Path, store: JournalStore, click, settle, in_store) -> None:
    now = count(1_700_000_000)
    for first in (0, 100, 200):
        writer = Writer(spool, "test", now=lambda: float(next(now)))
        for number in range(first, first + 100):
            writer.append([click(number)], durable=False)
        writer.close()
    drain = Drain(spool, store, batch=70)
    for turn in range(1, 5):
        assert drain.turn() == 70
        assert drain.pause == 0
        assert in_store(store) == list(range(70 * turn))
    assert settle(drain) == 20
    assert segment_paths(spool) == []


def test_a_batch_has_room_for_a_full_segment(spool: Path, store: JournalStore, click) -> None:
    writer = Writer(spool, "test")
    writer.append([click(number) for number in range(BATCH + 1)], durable=False)
    writer.close()
    assert Drain(spool, store).turn() == BATCH + 1  # one frame; it is not cut


def test_what_was_deleted_does_not_come_back_with_another_drain(
    spool: Path, store: JournalStore, click, settle, in_store
) -> None:
    writer = Writer(spool, "test")
    writer.append([click(1)], durable=True)
    settle(Drain(spool, store))
    assert store.prune(2_000_000_000) == 1
    writer.append([click(2)], durable=True)
    settle(Drain(spool, store))
    assert in_store(store) == [2]
    writer.close()


def test_a_torn_tail_is_told_and_left_behind(
    spool: Path, store: JournalStore, click, caplog: pytest.LogCaptureFixture, settle, in_store
) -> None:
    (spool / "s.test.log").write_bytes(frame([click(1)]) + frame([click(2)])[:-1])
    settle(Drain(spool, store))
    assert in_store(store) == [1]
    assert list(spool.iterdir()) == []
    assert "ends in an unfinished record" in caplog.text


def test_a_torn_tail_of_a_living_writer_is_waited_for(spool: Path, store: JournalStore, click, settle, in_store) -> None:
    path = spool / "s.test.log"
    half = frame([click(2)])
    path.write_bytes(frame([click(1)]) + half[:30])
    drain = Drain(spool, store)
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert settle(drain) == 1
        file.write(half[30:])
        assert settle(drain) == 1
    settle(drain)
    assert in_store(store) == [1, 2]
    assert list(spool.iterdir()) == []


def test_a_damaged_segment_is_told_and_kept(
    spool: Path, store: JournalStore, click, caplog: pytest.LogCaptureFixture, settle, in_store, fill
) -> None:
    octets = bytearray(frame([click(1)]) + frame([click(2)]) + frame([click(3)]))
    octets[len(frame([click(1)])) + 20] ^= 1
    (spool / "s.test.log").write_bytes(octets)
    drain = Drain(spool, store)
    settle(drain)
    assert in_store(store) == [1]
    assert (spool / "s.test.log.damaged").read_bytes() == octets
    assert "is damaged from octet" in caplog.text
    fill(spool, range(4, 6))
    settle(drain)
    assert in_store(store) == [1, 4, 5]
    assert waiting(spool, {}).aside == 1


def test_a_record_that_is_refused_does_not_stop_the_others(
    spool: Path, store: JournalStore, click, caplog: pytest.LogCaptureFixture, settle, in_store
) -> None:
    writer = Writer(spool, "test")
    for number in range(300):
        writer.append([replace(click(number), time=2**63) if number % 100 == 50 else click(number)], durable=False)
    writer.close()
    assert settle(Drain(spool, store)) == 300
    assert in_store(store) == [number for number in range(300) if number % 100 != 50]
    assert segment_paths(spool) == []
    (aside,) = (spool / "refused").iterdir()
    assert aside.stat().st_mode & 0o777 == 0o600
    assert aside.read_text().count('"line"') == 3
    assert caplog.text.count("is refused") == 3
    assert waiting(spool, {}).aside == 1


def test_a_line_that_is_no_record_is_refused_alone(
    spool: Path, store: JournalStore, click, monkeypatch, settle, in_store
) -> None:
    lines = frame([click(1)]), frame([click(2)]).replace(b'"click"', b'"later"'), frame([click(3)])
    with monkeypatch.context() as patch:
        # A line as a later release may write it, in a frame as any release does.
        patch.setattr("journal.segment.encode", lambda line: line)
        later = frame([lines[1][12:]])
    (spool / "s.test.log").write_bytes(lines[0] + later + lines[2])
    settle(Drain(spool, store))
    assert in_store(store) == [1, 3]
    assert "later" in (spool / "refused" / "s.jsonl").read_text()


def test_a_segment_that_appears_is_never_taken_from_its_writer(spool: Path, store: JournalStore, click, settle, in_store) -> None:
    done = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(600):
                writer = Writer(spool, "test")  # a new segment each time: the drain may see it before its lock
                writer.append([click(number)], durable=False)
                writer._leave()
                writer._close_unsettled()
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=write)
    thread.start()
    drain = Drain(spool, store)
    while not done.is_set():
        drain.turn()
    thread.join()
    settle(drain)
    assert failures == []
    assert in_store(store) == list(range(600))
    assert segment_paths(spool) == []


def test_two_drains_are_no_harm(spool: Path, store: JournalStore, settle, in_store, fill) -> None:
    fill(spool, range(400))
    first, second = Drain(spool, store, batch=30), Drain(spool, store, batch=50)
    while first.turn() + second.turn():
        pass
    settle(first)
    settle(second)
    assert in_store(store) == list(range(400))
    assert segment_paths(spool) == []


def test_a_spool_that_cannot_be_read_is_waited_for(tmp_path: Path, store: JournalStore, settle, fill) -> None:
    drain = Drain(tmp_path / "none", store)
    assert drain.turn() == 0
    assert drain.pause > IDLE
    (tmp_path / "none").mkdir()
    fill(tmp_path / "none", range(3))
    assert settle(drain) == 3


def test_something_else_in_the_spool_is_left_alone(spool: Path, store: JournalStore, settle, fill) -> None:
    (spool / "folder.log").mkdir()
    (spool / "notes.txt").write_text("x")
    os.mkfifo(spool / "pipe")
    fill(spool, range(3))
    assert settle(Drain(spool, store)) == 3
    assert sorted(path.name for path in spool.iterdir()) == ["folder.log", "notes.txt", "pipe"]


def test_what_waits_is_counted(spool: Path, store: JournalStore, click, settle) -> None:
    assert (waiting(spool, {}).octets, waiting(spool, {}).oldest) == (0, None)
    writer = Writer(spool, "test")
    writer.append([click(1)], durable=True)
    found = waiting(spool, {})
    assert (found.octets, found.segments, found.oldest, found.aside) == (len(frame([click(1)])), 1, click().time, 0)
    settle(Drain(spool, store))
    (path,) = segment_paths(spool)
    assert waiting(spool, store.drained([path.name.partition(".")[0]])).octets == 0
    writer.close()
