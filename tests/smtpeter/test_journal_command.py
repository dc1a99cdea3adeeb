"""`smtpeter journal`: exports, forgetting, the state of the spool, and the process that drains it."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from journal.spool import Writer
from journal.store import JournalStore
from smtpeter.__main__ import run
from smtpeter.settings import Settings

NOON = 1_700_049_600  # 2023-11-15 12:00:00 UTC


@pytest.fixture
def smtpeter(smtpeter: Callable[..., str], settings: Settings) -> Callable[..., str]:
    """Runs a subcommand of `smtpeter journal`."""
    return partial(smtpeter, "journal")


@pytest.fixture
def filled(store: JournalStore, mailed, clicked, opened) -> JournalStore:
    store.insert([("", mailed), ("s-1", clicked), ("s-2", opened), ("s-3", replace(clicked, time=NOON + 86_400, machine=True))])
    return store


def test_a_day_is_exported(smtpeter, filled: JournalStore, mailed, clicked) -> None:
    ((*row,),) = csv.reader(io.StringIO(smtpeter("export", "--type", "attempts", "--date", "2023-11-15")))
    assert row == [mailed.id, "2023-11-15 12:00:00", mailed.envelope, mailed.recipient, "trackclicks", "spring;sale", "0"]
    (click,) = json.loads(smtpeter("export", "--type", "clicks", "--date", "2023-11-15", "--format", "json"))
    assert (click["destination"], click["recipient"], click["headers"]) == (
        clicked.destination,
        mailed.recipient,
        clicked.headers,
    )
    assert "<protocol>https</protocol>" in smtpeter("export", "--type", "opens", "--date", "2023-11-15", "--format", "xml")
    assert smtpeter("export", "--type", "opens", "--date", "2023-11-14") == ""
    assert smtpeter("export", "--type", "opens", "--date", "2023-11-14", "--header").startswith("id,time,headers,ip,protocol,")


def test_machines_can_be_left_out(smtpeter, filled: JournalStore, mailed) -> None:
    assert smtpeter("export", "--type", "clicks", "--date", "2023-11-16").count(mailed.id) == 1
    assert smtpeter("export", "--type", "clicks", "--date", "2023-11-16", "--people") == ""


def test_an_export_into_a_file(smtpeter, filled: JournalStore, tmp_path: Path) -> None:
    file = tmp_path / "clicks.2023-11-15.log"
    file.write_text("of yesterday")
    words = ("export", "--type", "clicks", "--date", "2023-11-15")
    assert smtpeter(*words, "--output", str(file)) == ""
    assert file.read_text() == smtpeter(*words)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if "clicks" in path.name] == [file.name]
    assert smtpeter(*words, "--output", "/dev/null") == ""
    assert "none/x cannot be written: No such file" in smtpeter(*words, "--output", str(tmp_path / "none" / "x"), status=2)


def test_an_export_that_fails_leaves_the_file_as_it_was(
    smtpeter, settings: Settings, filled: JournalStore, tmp_path: Path, clicked
) -> None:
    file = tmp_path / "out"
    file.write_text("of yesterday")
    filled.insert((f"t-{number}", replace(clicked, headers="x" * 5_000)) for number in range(500))
    filled.close()
    content = bytearray((settings.data / "journal.db").read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    for path in settings.data.glob("journal.db-*"):
        path.unlink()
    (settings.data / "journal.db").write_bytes(content)
    smtpeter("export", "--type", "clicks", "--date", "2023-11-15", "--output", str(file), status=2)
    assert file.read_text() == "of yesterday"
    assert not list(tmp_path.glob(".out*"))


def test_a_long_export_shows_how_far_it_is_where_somebody_looks(settings: Settings, store: JournalStore, mailed, clicked) -> None:
    store.insert((f"s-{number}", clicked) for number in range(21_000))
    words = ("journal", "export", "--type", "clicks", "--date", "2023-11-15")
    argv = (sys.executable, "-m", "smtpeter", "--data", str(settings.data), *words)
    leader, follower = pty.openpty()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=follower, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(follower)
        assert process.stdout.read().count(mailed.id.encode()) == 21_000
        assert b"exporting" in os.read(leader, 10_000)
    os.close(leader)
    assert process.returncode == 0
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("export", "--type", "clicks", "--date", "yesterday"), "--date takes a day as YYYY-MM-DD, not 'yesterday'"),
        (("export", "--type", "clicks", "--date", "2023-02-29"), "not '2023-02-29'"),
        (("export", "--type", "clicks", "--date", "2023-1-1"), "not '2023-1-1'"),
        (("export", "--type", "clicks", "--date", "0000-01-01"), "not '0000-01-01'"),
        (("export", "--type", "bounces", "--date", "2023-01-01"), "'bounces' is not one of"),
        (("export", "--type", "clicks", "--date", "2023-01-01", "--format", "yaml"), "'yaml' is not one of"),
        (("export", "--type", "clicks", "--date", "2023-01-01", "--format", "json", "--header"), "--header is for CSV"),
        (("export", "--type", "attempts", "--date", "2023-01-01", "--people"), "--people is for clicks and opens"),
        (("export", "--date", "2023-01-01"), "--type"),
        (("prune", "--days", "-1"), "'--days': Input should be greater"),
        (("delete", "reader"), "'reader' is no address"),
    ],
)
def test_a_mistake_is_a_sentence(smtpeter, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in smtpeter(*words, status=2)


def test_days_at_both_ends_of_the_calendar(smtpeter) -> None:
    assert smtpeter("export", "--type", "opens", "--date", "0001-01-01") == ""
    assert smtpeter("export", "--type", "opens", "--date", "9999-12-31") == ""


def test_old_records_are_pruned(smtpeter, filled: JournalStore, mailed) -> None:
    now = int(time.time())
    filled.insert([("", replace(mailed, id="new", time=now - 3 * 86_400 - 60))])
    assert smtpeter("prune", "--days", "0") == "nothing is removed: 0 days means for ever\n"
    assert smtpeter("prune").startswith("4 records from before ")  # 365 days, the default
    assert smtpeter("prune", "--days", "4").startswith("0 records")
    assert smtpeter("prune", "--days", "3").startswith("1 records")
    assert sum(filled.counts().values()) == 0


def test_a_recipient_is_forgotten(smtpeter, filled: JournalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "removed: 0 messages" in smtpeter("delete", "other@example.net", "--yes")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    smtpeter("delete", "reader@example.net", status=130)
    assert filled.counts() == {"messages": 1, "copies": 0, "visits": 3}
    assert smtpeter("delete", "Reader@EXAMPLE.net", "--yes") == "removed: 1 messages, 0 copies, 3 visits\n"
    assert sum(filled.counts().values()) == 0


def test_who_is_forgotten_may_still_be_in_the_spool(smtpeter, settings: Settings, mailed) -> None:
    writer = Writer(settings.spool, "test")
    writer.append([mailed], durable=True)
    assert "do this again" in smtpeter("delete", "reader@example.net", "--yes")
    writer.close()


def test_the_state_is_shown(smtpeter, settings: Settings, filled: JournalStore, clicked) -> None:
    writer = Writer(settings.spool, "test")
    writer.append([clicked], durable=True)
    found = json.loads(smtpeter("status", "--json"))
    octets = sum(path.stat().st_size for path in settings.spool.iterdir())
    assert found == {
        "messages": 1, "copies": 0, "visits": 3,
        "waiting octets": octets, "waiting segments": 1, "waiting since": "2023-11-15 12:01:00", "set aside": 0,
    }  # fmt: skip
    assert "waiting since     2023-11-15 12:01:00\n" in smtpeter("status")
    writer.close()


def test_the_state_of_the_spool_is_shown_without_the_database(smtpeter, settings: Settings) -> None:
    (settings.data / "journal.db").rename(settings.data / "moved")
    found = json.loads(smtpeter("status", "--json", status=1))
    assert "database" in found["database"]
    assert (found["waiting octets"], found["waiting since"]) == (0, None)
    assert "smtpeter up" in smtpeter("export", "--type", "clicks", "--date", "2023-01-01", status=2)


@pytest.mark.parametrize(
    "url", ["journal.db", "mysql://x/y", "sqlite://", "postgresql+asyncpg://x/y", "sqlite:///:memory:", "://"]
)
def test_a_url_of_something_else_is_a_mistake(tmp_path: Path, url: str, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "smtpeter.toml"
    file.write_text(f'data = "{tmp_path / "data"}"\n[journal]\ndatabase = "{url}"\n')
    assert run(["--settings", str(file), "account", "add", "shop"]) == 2
    assert "sqlite:///FILE or postgresql://" in capfd.readouterr().err


def test_the_folders_are_private(settings: Settings) -> None:
    assert [path.stat().st_mode & 0o777 for path in (settings.spool, settings.images)] == [0o700, 0o700]
