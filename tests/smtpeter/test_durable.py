"""Files that are there whole or not at all."""

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from smtpeter.durable import alone, replace, write_new


def test_a_new_file_does_not_take_the_place_of_another(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"one")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"


def test_a_file_has_its_mode_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace(tmp_path / "file", b"one", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_that_is_replaced_hands_on_owner_and_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "file"
    replace(file, b"one", mode)
    assert stat.S_IMODE(file.stat().st_mode) == mode
    file.chmod(0o640)
    group = next((group for group in (*os.getgroups(), 65534) if group != file.stat().st_gid), file.stat().st_gid)
    if os.geteuid() == 0 or group in os.getgroups():
        os.chown(file, -1, group)
    before = file.stat()
    replace(file, b"two", mode)
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert file.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [file]


def test_what_an_interrupted_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_bytes(b"half")
    replace(tmp_path / "file", b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"whole"}


def test_readers_never_find_half_of_it(tmp_path: Path) -> None:
    file, stop, wrong = tmp_path / "file", threading.Event(), []
    contents = {bytes((letter,)) * 100_000 for letter in b"ab"}
    replace(file, b"a" * 100_000)

    def look() -> None:
        while not stop.is_set():
            if (found := file.read_bytes()) not in contents:
                wrong.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(50):
        replace(file, b"ab"[turn % 2 : turn % 2 + 1] * 100_000)
    stop.set()
    reader.join()
    assert wrong == []


def test_one_at_a_time_is_alone(tmp_path: Path) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with alone(tmp_path):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)  # the others' turn
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
