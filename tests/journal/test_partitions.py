"""A journal split by day (journal/partitions.sql): everything works on it, and old days go at once."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from journal.event import Decision
from journal.migrate import migrate
from journal.records import CopyRecord, VisitKind
from journal.store import JournalStore

DAY = 86_400


@pytest.fixture
def url(postgresql) -> str:
    return str(postgresql.database())


@pytest.fixture
def run(url: str) -> Any:
    """Runs a statement; the first value of its result."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:

        def execute(statement: str) -> Any:
            found = connection.execute(statement)
            row = found.fetchone() if found.description else None
            return row and row[0]

        yield execute


@pytest.fixture
def split(run, root: Path) -> Any:
    """Splits the journal, as psql --single-transaction does."""
    return lambda: run((root / "journal" / "partitions.sql").read_text())


def test_a_journal_that_was_split_works_as_before(url: str, store: JournalStore, split, mailed, clicked) -> None:
    now = int(time.time())
    old = replace(mailed, id="a" * 18, time=now - 400 * DAY)
    store.insert([("s-1", old), ("s-2", replace(clicked, message=old.id, time=now - 300 * DAY))])
    split()
    today = replace(mailed, id="b" * 18, time=now, decisions=())
    late = replace(mailed, id="c" * 18, time=now + 5 * DAY)
    stray = replace(mailed, id="d" * 18, time=now + 400 * DAY)
    copy = CopyRecord(message=today.id, time=now, queue_id="4x", decisions=())
    for _ in range(2):  # as after a crash
        store.insert(
            [("s-3", today), ("s-4", late), ("s-5", stray), ("s-6", copy), ("s-7", replace(clicked, time=now))], {"s": 5}
        )
    decided = replace(today, decisions=(Decision("trackclicks", "applied", "login"),))
    store.insert([("s-8", decided)])
    store.insert([("s-9", today)])
    assert store.counts() == {"messages": 4, "copies": 1, "visits": 2}
    assert store.messages_by(id=today.id) == (decided,)
    assert store.messages_by(queue_id="4x") == (decided,)
    assert {message.id for message in store.messages_by(recipient=mailed.recipient)} == {old.id, today.id, late.id, stray.id}
    assert [message.id for message in store.attempts(0, now + 1)] == [old.id, today.id]
    assert store.count_visits(VisitKind.CLICK, now, now + 1) == 1
    assert store.prune(now - 350 * DAY) == 1
    assert store.delete_recipient(mailed.recipient)["messages"] == 3
    assert store.counts() == {"messages": 0, "copies": 0, "visits": 2}
    migrate(url)


def test_each_day_has_a_table_that_goes_with_its_time(store: JournalStore, run, split, clicked) -> None:
    split()
    now = int(time.time())
    assert run("SELECT smtpeter_days(14)") == 0
    assert run("SELECT smtpeter_days(16)") == 6
    later = now + 10 * DAY
    store.insert([("s-1", replace(clicked, time=later)), ("s-2", replace(clicked, time=now))])
    name = datetime.fromtimestamp(later, UTC).strftime("visits_%Y%m%d")
    assert run("SELECT tableoid::regclass::text FROM visits ORDER BY time DESC LIMIT 1") == name
    assert run("SELECT count(*) FROM visits_before") == 1
    assert run("SELECT count(*) FROM visits_default") == 0
    assert run("SELECT smtpeter_forget(1)") == 0
    # Ten days on, when the first table and eight days are over.
    assert run("SELECT smtpeter_forget(-10)") == 3 + 3 * 8
    assert store.counts()["visits"] == 1


def test_records_go_on_coming_while_it_is_split(store: JournalStore, split, clicked, in_threads) -> None:
    now = int(time.time())

    def work(number: int) -> None:
        if number == 0:
            split()
            return
        for each in range(40):
            store.insert((f"s-{number}-{each}-{one}", replace(clicked, time=now - one * DAY)) for one in range(20))

    store.insert((f"s-{one}", clicked) for one in range(1000))
    in_threads(work)
    assert store.counts()["visits"] == 1000 + 3 * 40 * 20
