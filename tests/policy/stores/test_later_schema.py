"""A release works with the schema of the next one, as long as that only added to it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

import journal.migrate
from journal.records import MessageRecord, VisitRecord
from journal.store import JournalStore
from policy.account import Account, State
from policy.login import Login, Password
from policy.options import Options
from policy.stores import StoreUnavailable
from policy.stores.engine import connect_engine
from policy.stores.migrate import POLICY, USAGE, Schema, current_version, is_newer, migrate, wanted_version, works_with
from policy.stores.sql import SqlStore
from policy.stores.uses import SqlUses, Use

ADDITION = '''"""What a later release adds."""

import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {before!r}


def upgrade() -> None:
    """A table, and columns that have a default."""
    op.create_table("later_{number}", sa.Column("name", sa.String(10), primary_key=True))
    for table in {tables!r}:
        op.add_column(table, sa.Column("later_{number}", sa.Integer, nullable=False, server_default="7"))
        op.add_column(table, sa.Column("later_{number}_text", sa.Text))
'''
TABLES = {
    POLICY.version_table: ["accounts", "logins", "passwords", "domains", "signing_keys"],
    USAGE.version_table: ["counters", "sessions", "uses", "places"],
    journal.migrate.JOURNAL.version_table: ["messages", "copies", "visits", "disabled_links", "segments"],
}
SCHEMAS = {"policy": POLICY, "usage": USAGE, "journal": journal.migrate.JOURNAL}
LOGIN = Login(
    name="a" * 32, account="shop", passwords=(Password(number=1, hash="hash", created=3),), options=Options(), created=3
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """No database yet, or an empty one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'some.db'}"
    return str(request.getfixturevalue("postgresql").database())


@pytest.fixture
def later(tmp_path: Path) -> Callable[..., Schema]:
    """The schema of a release after this one: each number of `revisions` adds something."""

    def make(schema: Schema, *revisions: str) -> Schema:
        folder = tmp_path / f"later-{revisions[-1]}"
        shutil.copytree(schema.migrations, folder, ignore=shutil.ignore_patterns("__pycache__"))
        before = wanted_version(schema)
        for number, revision in enumerate(revisions):
            text = ADDITION.format(revision=revision, before=before, number=number, tables=TABLES[schema.version_table])
            (folder / "versions" / f"{revision}_later.py").write_text(text)
            before = revision
        return replace(schema, migrations=folder)

    return make


def following(schema: Schema, steps: int) -> str:
    return f"{int(wanted_version(schema)) + steps:04}"


@pytest.mark.parametrize(
    ("found", "wanted", "works", "newer"),
    [
        ("0004", "0004", True, False),
        ("0009", "0004", True, True),
        ("0999", "0004", True, True),
        ("0003", "0004", False, False),
        ("1000", "0004", False, True),
        ("0004", "1000", False, False),
        ("1002", "1001", True, True),
        (None, "0004", False, False),
        ("abcdef", "0004", False, True),
    ],
)
def test_within_a_thousand_later_is_good(found: str | None, wanted: str, works: bool, newer: bool) -> None:
    assert works_with(found, wanted) is works
    assert is_newer(found, wanted) is newer


def test_revisions_are_numbers_of_four_digits() -> None:
    for schema in SCHEMAS.values():
        for path in (schema.migrations / "versions").glob("[!_]*.py"):
            assert path.name[:4].isdecimal()
            assert path.name[4] == "_"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_later_schema_of_the_thousand_is_left_as_it_is(name: str, url: str, later: Callable[..., Schema]) -> None:
    schema = SCHEMAS[name]
    revisions = following(schema, 1), following(schema, 2)
    migrate(url, later(schema, *revisions))
    for _ in range(2):
        migrate(url, schema)
        assert current_version(url, schema) == revisions[-1]
    with connect_engine(url).connect() as connection:
        assert {"later_0", "later_1"} <= set(sa.inspect(connection).get_table_names())


def test_logins_of_a_later_schema_are_used_as_ever(url: str, later: Callable[..., Schema]) -> None:
    migrate(url)
    store = SqlStore(url)
    store.add_account(Account(name="shop", state=State.APPROVED, created=1))
    store.add_login(LOGIN)
    store.close()
    migrate(url, later(POLICY, following(POLICY, 1)))
    migrate(url)
    assert store.login(LOGIN.name) == LOGIN
    changed = store.change_login(LOGIN.name, lambda login: replace(login, label="other"))
    store.add_login(replace(LOGIN, name="b" * 32))
    assert {login.name for login in store.logins()} == {"a" * 32, "b" * 32}
    assert store.login(LOGIN.name) == changed
    store.change_account("shop", lambda account: replace(account, state=State.SUSPENDED))
    store.remove_login("b" * 32)
    with connect_engine(url).connect() as connection:
        assert connection.execute(sa.text("SELECT later_0 FROM logins")).scalars().all() == [7]
    store.close()


def test_uses_of_a_later_schema_are_kept_as_ever(url: str, later: Callable[..., Schema]) -> None:
    migrate(url, later(USAGE, following(USAGE, 1)))
    migrate(url, USAGE)
    store = SqlUses(url)
    use = Use(login="x", password=1, time=5, address="192.0.2.1", mechanism="PLAIN")
    store.note((use,), {("x", "192.0.2.1"): 5})
    assert store.of("x") == {1: use}
    assert store.places(0, 10) == {("x", "192.0.2.1"): 5}
    store.close()


def test_the_journal_of_a_later_schema_is_filled_and_read_as_ever(
    url: str,
    later: Callable[..., Schema],
    make_message: Callable[..., MessageRecord],
    make_click: Callable[..., VisitRecord],
) -> None:
    migrate(url, later(journal.migrate.JOURNAL, following(journal.migrate.JOURNAL, 1)))
    journal.migrate.migrate(url)
    store = JournalStore(url)
    message, click = make_message(), make_click()
    store.insert([(message.id, message), ("segment-0", click)], {"segment": 10})
    assert [found for found in store.attempts(0, 2**40)] == [message]
    assert store.counts()["visits"] == 1
    assert store.drained(["segment"]) == {"segment": 10}
    store.disable_link("https://example.com/", 1, "spam")
    assert len(store.disabled_links()) == 1
    assert store.delete_recipient(message.recipient)["messages"] == 1
    store.close()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_next_thousand_is_refused_with_a_sentence(name: str, url: str, later: Callable[..., Schema]) -> None:
    schema = SCHEMAS[name]
    migrate(url, later(schema, "1000"))
    with pytest.raises(
        StoreUnavailable, match=f"at schema 1000 of a later release.* works with {wanted_version(schema)}"
    ) as caught:
        migrate(url, schema)
    assert "\n" not in str(caught.value)
    assert current_version(url, schema) == "1000"


def test_a_version_that_is_none_of_ours_is_refused_with_a_sentence(url: str) -> None:
    migrate(url)
    with connect_engine(url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'deadbeef'"))
    with pytest.raises(StoreUnavailable, match="deadbeef"):
        migrate(url)
