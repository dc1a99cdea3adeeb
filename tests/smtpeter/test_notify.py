"""What a service manager is told (sd_notify(3)): by the adapter alone, and by each process of the service as it runs."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from smtpeter import activation, database, leash
from smtpeter.notify import Notifier
from smtpeter.settings import Settings

SECONDS = 30.0
WATCHDOG = 2_000_000  # microseconds


class Manager:
    """The other end: a datagram socket at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.settimeout(SECONDS)

    def hears(self) -> str:
        """The next message. Raises TimeoutError."""
        return self._socket.recv(4096).decode()

    def has_heard(self) -> list[str]:
        """All messages that are there."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            self._socket.settimeout(SECONDS)
            return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose name is short enough for sockets."""
    with TemporaryDirectory(prefix="smtpeter-") as found:
        yield Path(found)


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    found = Manager(str(folder / "notify"))
    yield found
    found.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(folder: Path, abstract: bool) -> None:
    address = f"@smtpeter-{secrets.token_hex(8)}" if abstract else str(folder / "notify")
    manager = Manager(address)
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier.inherited(environment)
    assert environment == {"HOME": "/"}
    notifier.status("waits\nfor its database")
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert manager.has_heard() == ["STATUS=waits for its database", "READY=1", "WATCHDOG=1", "STOPPING=1"]
    manager.close()


def test_it_is_told_of_life_at_half_of_its_patience(manager: Manager) -> None:
    now = 100.0
    notifier = Notifier(manager.address, 4.0, clock=lambda: now)
    heard = []
    for now in (100.0, 101.0, 101.9, 102.0, 102.1, 104.0):  # noqa: B007  # the clock
        notifier.alive()
        heard.append(len(manager.has_heard()))
    assert heard == [1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nonexistent/notify", "WATCHDOG_USEC": "1000"},
    ],
)
def test_nobody_need_listen(environment: dict[str, str]) -> None:
    notifier = Notifier.inherited(environment)
    notifier.ready()
    notifier.alive()
    notifier.stopping()


@pytest.mark.parametrize(("period", "pid"), [("1000", "1"), ("0", ""), ("", ""), ("-5", ""), ("soon", "")])
def test_life_is_not_told_to_who_did_not_ask_this_process(manager: Manager, period: str, pid: str) -> None:
    notifier = Notifier.inherited({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": period, "WATCHDOG_PID": pid})
    notifier.alive()
    notifier.ready()
    assert manager.has_heard() == ["READY=1"]


def test_a_manager_that_went_away_is_no_trouble(manager: Manager) -> None:
    notifier = Notifier(manager.address, 0.0)
    manager.close()
    notifier.ready()
    notifier.alive()


# -- the processes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(folder: Path) -> Settings:
    found = Settings(data=folder / "data", sockets=folder)
    database.prepare(found)
    (folder / "smtpeter.toml").write_text(f'data = "{found.data}"\nsockets = "{folder}"\n[milter]\nworkers = 2\n')
    return found


def greets(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(path))
        return client.recv(100).startswith(b"VERSION")


def answers(listener: socket.socket) -> bool:
    with socket.create_connection(listener.getsockname(), timeout=SECONDS) as client:
        client.sendall(b"GET /nothing HTTP/1.1\r\nHost: clicks.example.com\r\n\r\n")
        return client.recv(100).startswith(b"HTTP/1.1 404")


def negotiates(path: Path) -> bool:
    """A milter answers the first packet, SMFIC_OPTNEG, with one of the same kind."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        client.connect(str(path))
        client.sendall(b"\0\0\0\x0dO" + b"\0\0\0\6" + b"\0\0\1\xff" + b"\0\x1f\xff\xff")
        return client.recv(100)[4:5] == b"O"


@pytest.mark.parametrize("name", ["auth", "milter", "journal", "web"])
def test_each_process_tells_how_it_is(folder: Path, settings: Settings, manager: Manager, name: str) -> None:
    listeners: dict[str, socket.socket] = {}
    serves: Callable[[], bool] = lambda: True  # noqa: E731
    words = (name,)
    if name == "auth":
        listeners = {each: activation.listen(folder / each) for each in ("auth", "policy")}
        serves = lambda: greets(folder / "auth")  # noqa: E731
    elif name == "web":
        listeners = {"web": socket.create_server(("127.0.0.1", 0))}
        serves = lambda: answers(listeners["web"])  # noqa: E731
    elif name == "milter":
        serves = lambda: negotiates(folder / "milter")  # noqa: E731
    else:
        words = (name, "serve")
    handed = ",".join(f"{each}={listener.fileno()}" for each, listener in listeners.items())
    argv = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "15", "", handed)
    environment = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(WATCHDOG)}
    with subprocess.Popen(
        (*argv, sys.executable, "-m", "smtpeter", "--settings", str(folder / "smtpeter.toml"), *words),
        stderr=subprocess.PIPE,
        env=environment,
        pass_fds=[listener.fileno() for listener in listeners.values()],
    ) as process:
        try:
            heard = [manager.hears()]
            while "READY=1" not in heard:
                heard.append(manager.hears())
            assert set(heard) <= {"READY=1", "WATCHDOG=1"}
            assert serves()
            assert [manager.hears(), manager.hears()] == ["WATCHDOG=1", "WATCHDOG=1"]
            process.send_signal(signal.SIGTERM)
            while (last := manager.hears()) == "WATCHDOG=1":
                pass
            assert last == "STOPPING=1"
            log = process.communicate(timeout=SECONDS)[1]
        finally:
            process.kill()
    for listener in listeners.values():
        listener.close()
    assert process.returncode == 0, log
    assert b"Traceback" not in log
