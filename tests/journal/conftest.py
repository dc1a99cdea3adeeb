"""A journal in each database there is."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from journal.migrate import migrate
from journal.records import VisitKind, VisitRecord
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
def click() -> Callable[..., VisitRecord]:
    """Makes clicks that differ in what is given: the number of the link, the octets of the header."""

    def make(number: int = 1, headers: str = "Host: clicks.example.com\nAccept: */*") -> VisitRecord:
        return VisitRecord(
            kind=VisitKind.CLICK,
            message="00112233445566778a",
            time=1_700_000_000,
            number=number,
            url="https://clicks.example.com/a-x",
            destination="https://example.com/a",
            ip="192.0.2.0",
            protocol="https",
            headers=headers,
            machine=False,
        )

    return make
