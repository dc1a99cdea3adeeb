"""Sockets that are opened by one process and served by another (sd_listen_fds(3))."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpeter import activation, leash
from smtpeter.errors import UserError

LEASH = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "15", "")
REPORT = """
import os
from smtpeter import activation
sockets = activation.inherited()
print({name: listener.getsockname() for name, listener in sockets.items()}, "LISTEN_FDS" in os.environ)
"""
# Puts the two descriptors it is given at 4 and 3 and turns into the leash.
CROSS = """
import os, sys
auth, policy, report, *leash = sys.argv[1:]
os.dup2(os.dup(int(auth)), 60)
os.dup2(os.dup(int(policy)), 61)
os.dup2(60, 4)
os.dup2(61, 3)
sockets = "auth=4,policy=3"
os.execv(leash[0], [*leash, str(os.getppid()), "15", "", sockets, sys.executable, "-c", report])
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path pytest makes may be longer than a socket's may be."""
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.fixture
def pair(directory: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    with activation.listen(directory / "auth") as one, activation.listen(directory / "policy") as other:
        yield one, other


def test_mode_and_group_are_set_before_anybody_can_connect(directory: Path) -> None:
    with activation.listen(directory / "s", mode=0o660, group="root"):
        status = (directory / "s").stat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert status.st_gid == 0


def test_the_umask_is_put_back(directory: Path) -> None:
    before = os.umask(0o022)
    try:
        activation.listen(directory / "s").close()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_socket_left_over_is_replaced(directory: Path) -> None:
    activation.listen(directory / "s").close()
    with activation.listen(directory / "s"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / "s"))


def test_a_path_that_is_too_long_is_refused_in_a_sentence(directory: Path) -> None:
    with pytest.raises(UserError, match="is longer than 107 octets: choose a shorter directory"):
        activation.listen(directory / ("x" * 108))


def test_a_path_of_107_octets_is_not_too_long(directory: Path) -> None:
    activation.listen(directory / ("x" * 107)).close()


def test_a_folder_that_is_not_there_is_named(directory: Path) -> None:
    with pytest.raises(UserError, match="the socket nowhere/s cannot be opened: No such file"):
        activation.listen(directory / "nowhere" / "s")


def test_an_unknown_group_is_named(directory: Path) -> None:
    with pytest.raises(UserError, match="there is no group nosuchgroup"):
        activation.listen(directory / "s", group="nosuchgroup")


def test_the_leash_hands_sockets_over_by_name(pair: tuple[socket.socket, socket.socket]) -> None:
    numbers = [listener.fileno() for listener in pair]
    done = subprocess.run(
        (*LEASH, f"auth={numbers[0]},policy={numbers[1]}", sys.executable, "-c", REPORT),
        pass_fds=numbers,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{'auth': 'auth', 'policy': 'policy'} False\n"


def test_descriptors_may_stand_in_each_others_place(pair: tuple[socket.socket, socket.socket]) -> None:
    """The second must go to 3 and 4 is where the first one is: neither may be lost."""
    numbers = [listener.fileno() for listener in pair]
    done = subprocess.run(
        (sys.executable, "-c", CROSS, *map(str, numbers), REPORT, *LEASH[:4]),
        pass_fds=numbers,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{'auth': 'auth', 'policy': 'policy'} False\n"


def test_sockets_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "auth")
    assert activation.inherited() == {}
    assert "LISTEN_FDS" not in os.environ


def test_started_without_sockets() -> None:
    assert activation.inherited() == {}
