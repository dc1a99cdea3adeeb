"""The spool: what was appended is there, whole, whatever happens to its writer or its disk."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from journal.records import decode
from journal.segment import HEADER, Tail, frame, read_segment, segment_paths
from journal.spool import Writer

# Appends durably and tells each number when it is on disk; frames are large, so that a kill hits one on its way.
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from journal.records import decode
from journal.spool import Writer
writer = Writer(Path(sys.argv[1]), "test", segment_size=400_000)
record = decode(sys.stdin.buffer.readline())
number = int(sys.argv[2])
while True:
    writer.append([replace(record, number=number), replace(record, number=number + 1)], durable=True)
    number += 2
    print(number, flush=True)
"""


def numbers(folder: Path) -> list[int]:
    """The numbers of all records in a spool, oldest segment first."""
    return [decode(line).number for path in segment_paths(folder) for _, line in read_segment(path, 0).lines]


def locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_appended_is_read_back(spool: Path, click, durable: bool) -> None:
    writer = Writer(spool, "test")
    writer.append([click(1), click(2)], durable=durable)
    writer.append([click(3)], durable=durable)
    (path,) = segment_paths(spool)
    found = read_segment(path, 0)
    assert [decode(line) for _, line in found.lines] == [click(1), click(2), click(3)]
    assert (found.end, found.tail) == (path.stat().st_size, Tail.NOTHING)
    writer.close()


def test_nothing_is_opened_for_nothing(spool: Path) -> None:
    writer = Writer(spool, "test")
    writer.append([], durable=True)
    writer.sync()
    writer.close()
    assert segment_paths(spool) == []


def test_a_segment_is_locked_while_it_is_written_to_and_private(spool: Path, click) -> None:
    writer = Writer(spool, "test")
    writer.append([click()], durable=True)
    (path,) = segment_paths(spool)
    assert path.name.split(".")[1:] == ["test", "log"]
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    assert locked(path)
    writer.close()
    assert not locked(path)
    writer.append([click(2)], durable=True)
    assert sorted(numbers(spool)) == [1, 2]
    writer.close()


@pytest.mark.parametrize("durable", [True, False])
def test_a_full_segment_is_left_for_another(spool: Path, click, durable: bool) -> None:
    writer = Writer(spool, "test", segment_size=1_000)
    for number in range(100):
        writer.append([click(number)], durable=durable)
    writer.sync()
    paths = segment_paths(spool)
    assert len(paths) > 10
    assert sorted(numbers(spool)) == list(range(100))
    assert [path for path in paths if locked(path)] == [path for path in paths if path.stat().st_size < 1_000]
    writer.close()


def test_segments_that_nobody_syncs_do_not_use_up_the_descriptors(spool: Path, click) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    writer = Writer(spool, "test", segment_size=1)
    for number in range(500):
        writer.append([click(number)], durable=False)
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 100
    writer.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert sorted(numbers(spool)) == list(range(500))


def test_an_old_segment_is_left_for_another(spool: Path, click) -> None:
    now = [1_700_000_000.0]
    writer = Writer(spool, "test", now=lambda: now[0])
    writer.append([click(1)], durable=True)
    writer.append([click(2)], durable=True)
    assert len(segment_paths(spool)) == 1
    now[0] += 3_600
    writer.append([click(3)], durable=True)
    assert len(segment_paths(spool)) == 2
    now[0] += 3_600
    writer.sync()
    assert not any(map(locked, segment_paths(spool)))
    assert numbers(spool) == [1, 2, 3]
    writer.close()


def test_a_removed_segment_is_replaced(spool: Path, click) -> None:
    writer = Writer(spool, "test")
    writer.append([click(1)], durable=True)
    segment_paths(spool)[0].unlink()
    writer.append([click(2)], durable=True)
    assert numbers(spool) == [2]
    segment_paths(spool)[0].unlink()
    writer.sync()
    writer.append([click(3)], durable=False)
    assert numbers(spool) == [3]
    writer.close()


def test_durable_means_that_file_and_name_are_on_disk(spool: Path, click, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fdatasync", "fsync"):
        real = getattr(os, name)

        def asked(descriptor: int, name: str = name, real=real) -> None:
            calls.append(f"{name} {Path(f'/proc/self/fd/{descriptor}').resolve().suffix or 'folder'}")
            real(descriptor)

        monkeypatch.setattr(os, name, asked)
    writer = Writer(spool, "test")
    writer.append([click()], durable=True)
    assert calls == ["fdatasync .log", "fsync folder"]
    writer.append([click()], durable=True)
    assert calls[2:] == ["fdatasync .log"]
    writer.append([click()], durable=False)
    assert len(calls) == 3
    writer.sync()
    assert calls[3:] == ["fdatasync .log"]
    writer.sync()
    assert len(calls) == 4
    writer.close()


def test_parent_and_child_write_to_segments_of_their_own(spool: Path, click) -> None:
    writer = Writer(spool, "test")
    writer.append([click(1)], durable=True)
    child = os.fork()
    if not child:
        try:
            writer.append([click(2)], durable=True)
            writer.append([click(3)], durable=True)
        finally:
            os._exit(0)
    writer.append([click(4)], durable=True)
    assert os.waitpid(child, 0)[1] == 0
    assert sorted(numbers(spool)) == [1, 2, 3, 4]
    assert sorted(map(locked, segment_paths(spool))) == [False, True]
    writer.close()


def test_a_child_that_writes_nothing_holds_no_lock(spool: Path, click) -> None:
    writer = Writer(spool, "test")
    writer.append([click()], durable=True)
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.close(wait[1])
        os.read(wait[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    writer.close()
    assert not any(map(locked, segment_paths(spool)))
    for descriptor in (*ready, *wait):
        os.close(descriptor)
    os.waitpid(child, 0)


def test_one_thread_appends_while_another_syncs(spool: Path, click) -> None:
    writer = Writer(spool, "test", segment_size=2_000)
    done = threading.Event()
    failures: list[BaseException] = []

    def sync() -> None:
        try:
            while not done.is_set():
                writer.sync()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    for number in range(2_000):
        writer.append([click(number)], durable=False)
    done.set()
    thread.join()
    writer.close()
    assert failures == []
    assert sorted(numbers(spool)) == list(range(2_000))


def test_a_writer_that_is_killed_loses_nothing_it_has_confirmed(spool: Path, click) -> None:
    line = frame([click(0, headers="x" * 150_000)])[HEADER:] + b"\n"
    confirmed: set[int] = set()
    for attempt in range(6):
        start = attempt * 1_000_000
        argv = (sys.executable, "-c", WRITER, str(spool), str(start))
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(line)
            process.stdin.flush()
            for _ in range(attempt + 1):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        confirmed |= set(range(start, start + 2 * (attempt + 1)))
    found = numbers(spool)
    assert len(found) == len(set(found))
    assert confirmed <= set(found)
    assert not any(map(locked, segment_paths(spool)))


def test_a_full_disk_is_an_error_and_hurts_nothing_else(small_disk: Path, click) -> None:
    writer = Writer(small_disk, "test")
    writer.append([click(1)], durable=True)
    with pytest.raises(OSError, match="No space left") as caught:
        writer.append([click(2), click(3, headers="x" * 600_000)], durable=True)
    assert caught.value.errno == errno.ENOSPC
    writer.append([click(4)], durable=True)  # there is room again for a small one
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4_096))
    with pytest.raises(OSError, match="No space left"):
        for number in range(100, 1_000):
            writer.append([click(number)], durable=True)
    filler.unlink()
    writer.append([click(5)], durable=True)
    assert sorted(numbers(small_disk)) == [1, 4, 5, *range(100, number)]
    writer.close()
    assert all(read_segment(path, 0).tail is Tail.NOTHING for path in segment_paths(small_disk))


def test_what_could_not_be_brought_to_disk_is_taken_back(spool: Path, click, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(spool, "test")
    writer.append([click(1)], durable=True)
    with monkeypatch.context() as patch:

        def broken(_descriptor: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match="Input/output"):
            writer.append([click(2)], durable=True)
        writer.append([click(3)], durable=False)
        with pytest.raises(OSError, match="Input/output"):
            writer.sync()
    writer.append([click(4)], durable=True)
    assert sorted(numbers(spool)) == [1, 3, 4]
    assert len(segment_paths(spool)) == 2  # the kernel's idea of the first one is not known
    writer.close()


def test_a_folder_that_is_gone_is_an_error(spool: Path, click) -> None:
    writer = Writer(spool / "none", "test")
    with pytest.raises(FileNotFoundError):
        writer.append([click()], durable=True)
    (spool / "none").mkdir()
    writer.append([click()], durable=True)
    assert numbers(spool / "none") == [1]
    writer.close()
