"""Fixtures that more than one room uses."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from journal.records import MessageRecord, VisitKind, VisitRecord
from smtpeter import leash

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def corpus() -> Path | None:
    """Test data of others, where it is at hand; a test goes on with what the project ships where it is not."""
    folder = Path(os.environ.get("SMTPETER_CORPUS") or ROOT.parent / "shared" / "corpus")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def awkward_urls() -> list[dict[str, str | None]]:
    """Links as they may be written: `html` is the start tag, `destination` where a redirect must lead, None for a link that
    is left alone; `left` then is a part of the reason, "" for no link to the web.
    """
    found: list[dict[str, str | None]] = json.loads((ROOT / "tests" / "awkward_urls.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="session")
def make_message() -> Callable[..., MessageRecord]:
    """Makes records of messages that differ in what is given."""
    made = MessageRecord(
        id="00112233445566778a",
        time=1_700_000_000,  # 2023-11-14 22:13:20 UTC
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
    return partial(replace, made)


@pytest.fixture(scope="session")
def make_click(make_message: Callable[..., MessageRecord]) -> Callable[..., VisitRecord]:
    """Makes records of clicks in that message that differ in what is given."""
    message = make_message()
    made = VisitRecord(
        kind=VisitKind.CLICK,
        message=message.id,
        time=message.time + 100,
        number=2,
        url="https://clicks.example.com/a-x",
        destination="https://example.com/a",
        ip="192.0.2.0",
        protocol="https",
        headers="Host: clicks.example.com\nAccept: */*",
        machine=False,
    )
    return partial(replace, made)


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Returns when a condition holds; fails where it does not within half a minute."""

    def wait(condition: Callable[[], object]) -> None:
        limit = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < limit
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def in_threads() -> Callable[[Callable[[int], None]], None]:
    """Runs a function in four threads at once, each with a number of its own; fails where one of them fails."""

    def run(work: Callable[[int], None]) -> None:
        failures: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    return run


class PostgreSQL:
    """A PostgreSQL server of its own on a unix socket. It ends with the process that runs the tests, however that ends."""

    def __init__(self, folder: Path) -> None:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        assert versions, "the tests need Debian's package postgresql; tools/prepare test installs it"
        self._binaries = versions[-1]
        self._folder = folder
        self._user = "postgres" if os.geteuid() == 0 else ""  # the server refuses to run as root
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            subprocess.run(("chown", self._user, folder), check=True)
        words = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", str(folder / "data"))
        done = subprocess.run(self._as_user(str(self._binaries / "initdb"), *words), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self._process is None
        words = ("-D", str(self._folder / "data"), "-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off")
        with (self._folder / "log").open("ab") as log:
            argv = self._as_user(str(self._binaries / "postgres"), *words)
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
        limit = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < limit
                time.sleep(0.05)
            else:
                return

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stops the server: SIGINT ends its sessions, SIGQUIT is like a crash (postgres(1))."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"

    def _as_user(self, *argv: str) -> tuple[str, ...]:
        """The command as the server's user, ending when this process ends."""
        death = str(int(signal.SIGQUIT))
        return (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), death, self._user, "", *argv)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A running server, one for all tests. Who stops it starts it again."""
    with TemporaryDirectory(prefix="smtpeter-postgresql-", dir="/tmp") as name:
        server = PostgreSQL(Path(name))
        server.start()
        yield server
        if server.running:
            server.stop()


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> Iterator[PostgreSQL]:
    """The server, running again after the test."""
    yield postgresql_server
    if not postgresql_server.running:
        postgresql_server.start()
