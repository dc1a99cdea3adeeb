"""The ring's file: read again when it was changed, kept in mind when it cannot be read."""

import logging
import os
import time
from pathlib import Path

import pytest

from journal.ring_file import RingFile
from journal.seal import InvalidRing, Ring, SealingKey

NOW = int(time.time())


def key(number: int, active: int = NOW) -> SealingKey:
    return SealingKey(id=number, secret=bytes((number,)) * 64, created=NOW, active=active)


class Clock:
    """A clock the test sets; what is written now is old by it."""

    def __init__(self) -> None:
        self.now = NOW + 1000.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, *keys: SealingKey) -> None:
    """A ring as `smtpeter keys` writes it: another file under the same name, not of the same tick of the kernel's clock."""
    limit, before = time.monotonic() + 5, path.stat().st_ctime_ns if path.exists() else 0
    draft = path.with_suffix(".new")
    while not path.exists() or path.stat().st_ctime_ns == before:
        assert time.monotonic() < limit
        draft.write_text(Ring(keys, NOW).format())
        draft.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "keys.ring"
    write(found, key(1))
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(path: Path, clock: Clock) -> RingFile:
    return RingFile(path, now=clock)


def test_the_ring_is_read_once_while_nothing_changes(file: RingFile) -> None:
    first = file.current()
    assert first.sealing == key(1)
    assert file.current() is first


def test_a_changed_file_counts_at_the_next_look(file: RingFile, path: Path) -> None:
    sealed = file.current().seal(b"x", b"test")
    write(path, key(1), key(2))
    assert file.current().sealing == key(2)
    assert file.current().unseal(sealed, b"test") == b"x"
    write(path, key(2))
    assert file.current().unseal(sealed, b"test") is None


def test_a_file_with_the_old_times_size_and_content_length_counts(file: RingFile, path: Path) -> None:
    file.current()
    before = path.stat()
    write(path, key(2))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert file.current().sealing == key(2)


def test_a_file_that_is_still_young_is_read_each_time(path: Path, clock: Clock) -> None:
    file = RingFile(path, now=clock)
    clock.now = path.stat().st_ctime_ns / 1e9 + 0.05
    assert file.current() is not file.current()
    clock.now += 0.1
    assert file.current() is file.current()


def test_a_key_begins_to_seal_when_its_time_has_come(file: RingFile, path: Path, clock: Clock) -> None:
    write(path, key(1), key(2, active=NOW + 2000))
    assert file.current().sealing == key(1)
    clock.now = NOW + 1999.9
    assert file.current().sealing == key(1)
    clock.now = NOW + 2000.0
    assert file.current().sealing.id == 2
    assert file.current() is file.current()


def test_a_key_begins_to_seal_although_the_file_is_gone(file: RingFile, path: Path, clock: Clock) -> None:
    write(path, key(1), key(2, active=NOW + 2000))
    assert file.current().sealing == key(1)
    path.unlink()
    clock.now = NOW + 2000.0
    assert file.current().sealing.id == 2


def test_between_two_looks_nobody_looks(path: Path, clock: Clock) -> None:
    file = RingFile(path, interval=1.0, now=clock)
    assert file.current().sealing == key(1)
    write(path, key(2))
    clock.now += 0.9
    assert file.current().sealing == key(1)
    clock.now += 0.1
    assert file.current().sealing == key(2)
    write(path, key(3))
    clock.now -= 3600
    assert file.current().sealing == key(3), "a clock that was set back does not put off the look"


def test_without_a_ring_there_is_no_start(path: Path, clock: Clock) -> None:
    good = path.read_text()
    path.unlink()
    file = RingFile(path, now=clock)
    with pytest.raises(FileNotFoundError):
        file.current()
    path.write_bytes(b"\xff\n")
    with pytest.raises(InvalidRing):
        file.current()
    with pytest.raises(InvalidRing):
        file.current()
    path.write_text(good)
    assert file.current().sealing == key(1)


@pytest.mark.parametrize("damage", [None, b"", b"\xff", b"1 2 3\n", b"1 1 1 AAAA\n"], ids=repr)
def test_a_damaged_file_leaves_the_last_good_ring(
    file: RingFile, path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    first = file.current()
    if damage is None:
        path.rename(path.with_suffix(".away"))
    else:
        path.write_bytes(damage)
    with caplog.at_level(logging.ERROR):
        assert [file.current(), file.current(), file.current()] == [first] * 3
    assert [str(path) in line for line in caplog.messages] == [True], "said once"
    write(path, key(2))
    assert file.current().sealing == key(2)


def test_a_second_damage_is_told_again(file: RingFile, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.current()
    for number in (2, 3):
        path.write_bytes(b"")
        file.current()
        write(path, key(number))
        assert file.current().sealing == key(number)
    assert len(caplog.messages) == 2


def test_no_line_of_the_log_has_a_key(file: RingFile, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.current()
    text = path.read_text()
    path.write_text(text + text.replace("=", ""))
    file.current()
    assert caplog.messages
    assert not any(word in line for line in caplog.messages for word in text.split()[3:])
