"""The journal's schema on both databases, and what a file or a server can do wrong."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from journal.migrate import current_version, migrate, wanted_version
from journal.schema import metadata
from journal.store import JournalStore
from policy.stores import StoreUnavailable
from policy.stores import migrate as policy_migrate
from policy.stores.engine import connect_engine

DAY = (1_699_920_000, 1_700_006_400)  # 2023-11-14, UTC


def test_the_migrations_make_the_schema_the_code_reads(url: str) -> None:
    assert current_version(url) is None if "postgresql" in url else True
    migrate(url)
    migrate(url)
    with connect_engine(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "journal_version"})
        assert compare_metadata(context, metadata) == []
    assert current_version(url) == wanted_version()


def test_both_rooms_may_have_one_database(url: str) -> None:
    policy_migrate.migrate(url)
    migrate(url)
    assert policy_migrate.current_version(url) == policy_migrate.wanted_version()
    assert current_version(url) == wanted_version()


def test_several_nodes_may_migrate_at_once(url: str) -> None:
    code = "import sys; from journal.migrate import migrate; migrate(sys.argv[1])"
    nodes = [subprocess.Popen((sys.executable, "-c", code, url), stderr=subprocess.PIPE) for _ in range(3)]
    failures = [node.communicate(timeout=60)[1] for node in nodes]
    assert failures == [b"", b"", b""]
    assert current_version(url) == wanted_version()


def test_a_database_without_the_schema_is_no_verdict_on_a_record(url: str, tmp_path: Path, clicked) -> None:
    (tmp_path / "journal.db").touch()
    store = JournalStore(url)
    with pytest.raises(StoreUnavailable):
        store.insert([("s-1", clicked)])
    with pytest.raises(StoreUnavailable):
        list(store.attempts(*DAY))
    migrate(url)
    store.insert([("s-1", clicked)])
    store.close()


def test_a_server_that_stops_is_unavailable_and_found_again(postgresql, clicked) -> None:
    url = postgresql.database()
    migrate(url)
    store = JournalStore(url)
    store.insert([("s-1", clicked)])
    postgresql.stop()
    with pytest.raises(StoreUnavailable) as caught:
        store.insert([("s-2", clicked)])
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        store.counts()
    postgresql.start()
    store.insert([("s-2", clicked)])
    assert store.counts()["visits"] == 2
    store.close()


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path, clicked) -> None:
    file = tmp_path / "journal.db"
    url = f"sqlite:///{file}"
    migrate(url)
    store = JournalStore(url)
    store.insert([("s-1", clicked)])
    for path in tmp_path.glob("journal.db*"):
        path.rename(tmp_path / f"old{path.name}")
    with pytest.raises(StoreUnavailable):
        store.insert([("s-2", clicked)])
    assert not file.exists()
    migrate(url)
    store.insert([("s-3", clicked)])
    store.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT id FROM visits").fetchall() == [("s-3",)]
    connection.close()


def test_a_locked_file_is_unavailable_for_writers_only(tmp_path: Path, clicked) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    migrate(url)
    store = JournalStore(url)
    store.insert([("s-1", clicked)])
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.insert([("s-2", clicked)])
    assert store.counts()["visits"] == 1
    other.execute("COMMIT")
    other.close()
    store.insert([("s-2", clicked)])
    store.close()


def test_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'journal.db'}")
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def test_an_error_names_nobody(url: str, mailed) -> None:
    migrate(url)
    with connect_engine(url).begin() as connection:
        connection.execute(sa.text("DROP TABLE messages"))
    store = JournalStore(url)
    with pytest.raises(StoreUnavailable) as caught:
        store.insert([("", replace(mailed, recipient="canary@example.net"))])
    store.close()
    assert "canary" not in str(caught.value)
