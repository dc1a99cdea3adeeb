"""A journal in each database there is."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.drain import Drain
from journal.event import Decision
from journal.migrate import migrate
from journal.records import MessageRecord, VisitRecord
from journal.spool import Writer
from journal.store import JournalStore


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    server: Any = request.getfixturevalue("postgresql")
    return str(server.database())


@pytest.fixture
def store(url: str) -> Iterator[JournalStore]:
    """The journal in a database of its own."""
    migrate(url)
    found = JournalStore(url)
    yield found
    found.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """An empty folder of segments."""
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB; root only may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", folder), check=True)
    yield folder
    subprocess.run(("umount", "--lazy", folder), check=True)


@pytest.fixture(scope="session")
def mailed(make_message: Callable[..., MessageRecord]) -> MessageRecord:
    """A message with a little of everything."""
    return make_message(
        envelope="Bounces@example.com",
        recipient="Reader@Example.net",
        properties=("trackclicks", "trackopens"),
        tags=("spring", "großer Tag 🎈"),
        decisions=(Decision("trackclicks", "applied", "login"), Decision("inlinecss", "skipped", "rule", "no style sheet")),
    )


@pytest.fixture(scope="session")
def clicked(make_click: Callable[..., VisitRecord]) -> VisitRecord:
    """A click in that message."""
    return make_click()


@pytest.fixture(scope="session")
def click(make_click: Callable[..., VisitRecord]) -> Callable[..., VisitRecord]:
    """Makes clicks that differ in what is given: the number of the link, the octets of the header."""

    def make(number: int = 1, **changes: object) -> VisitRecord:
        return make_click(number=number, time=1_700_000_000, **changes)

    return make


@pytest.fixture(scope="session")
def settle() -> Callable[[Drain], int]:
    """Turns a drain until there is nothing to do; returns how many records that were."""

    def turn(drain: Drain) -> int:
        total = 0
        while found := drain.turn():
            total += found
        return total

    return turn


@pytest.fixture(scope="session")
def in_store() -> Callable[[JournalStore], list[int]]:
    """The numbers of the clicks in a journal, in order."""
    return lambda store: sorted(visit.number for visit in store.visits_of(["00112233445566778a"]))


@pytest.fixture(scope="session")
def fill(click: Callable[..., VisitRecord]) -> Callable[[Path, range], None]:
    """Writes clicks with these numbers into a spool, a few to a segment."""

    def write(spool: Path, numbers: range) -> None:
        writer = Writer(spool, "test", segment_size=2_000)
        for number in numbers:
            writer.append([click(number)], durable=False)
        writer.close()

    return write
