"""The command, run on a data folder of its own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from journal.records import MessageRecord, VisitKind, VisitRecord
from journal.store import JournalStore
from smtpeter import database
from smtpeter.__main__ import run
from smtpeter.settings import Settings


@pytest.fixture
def smtpeter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a subcommand on a data folder of its own; returns what it printed, checks its exit status."""

    def command(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert run(["--data", str(tmp_path / "data"), *words]) == status
        out, err = capsys.readouterr()
        if status == 2:
            assert err.startswith("smtpeter: ")
            assert err.count("\n") == 1
            return err
        return out

    return command


@pytest.fixture
def shop(smtpeter) -> Callable[..., str]:
    smtpeter("account", "add", "shop", "--approve")
    return smtpeter


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of the command's data folder, with empty databases in it."""
    found = Settings(data=tmp_path / "data")
    database.prepare(found)
    return found


@pytest.fixture
def store(settings: Settings) -> Iterator[JournalStore]:
    """The journal there."""
    found = database.open_journal(settings)
    yield found
    found.close()


@pytest.fixture(scope="session")
def mailed(make_message: Callable[..., MessageRecord]) -> MessageRecord:
    """A message that was accepted at noon of 15 November 2023, UTC."""
    return make_message(time=1_700_049_600)


@pytest.fixture(scope="session")
def clicked(mailed: MessageRecord, make_click: Callable[..., VisitRecord]) -> VisitRecord:
    """A click in it a minute later."""
    return make_click(time=mailed.time + 60, number=1, headers="Host: clicks.example.com\nUser-Agent: =cmd")


@pytest.fixture(scope="session")
def opened(mailed: MessageRecord, clicked: VisitRecord) -> VisitRecord:
    """An opening by a machine before it."""
    return replace(clicked, kind=VisitKind.OPEN, time=mailed.time + 30, number=0, destination="", machine=True)
