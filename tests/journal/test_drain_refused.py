"""What the database cannot keep is set aside once, however often it is read."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from journal.drain import Drain
from journal.migrate import migrate
from journal.spool import Writer
from journal.store import JournalStore


def test_a_refused_record_is_set_aside_once_while_the_database_is_away(
    spool: Path, tmp_path: Path, click, in_store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "smtpeter.journal")
    file, away = tmp_path / "own.db", tmp_path / "away.db"
    migrate(f"sqlite:///{file}")
    store = JournalStore(f"sqlite:///{file}")
    writer, drain = Writer(spool, "test"), Drain(spool, store)
    writer.append([click(1)], durable=True)
    assert drain.turn() == 1
    file.rename(away)
    writer.append([replace(click(2), time=2**63)], durable=True)
    for _ in range(5):
        assert drain.turn() == 0
    away.rename(file)
    assert drain.turn() == 1
    writer.append([replace(click(3), time=2**63), click(4)], durable=True)
    assert drain.turn() == 2
    assert in_store(store) == [1, 4]
    (aside,) = (spool / "refused").iterdir()
    assert aside.read_text().count('"line"') == 2
    assert caplog.text.count("is refused") == 2
    writer.close()
    store.close()
