"""What a SQL database can do wrong, and the schema."""

import sqlite3
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from policy.domains import Algorithm, SenderDomain, SigningKey
from policy.login import Login, Password
from policy.options import Options
from policy.stores import StoreUnavailable
from policy.stores.engine import connect_engine, with_password_file
from policy.stores.migrate import MIGRATIONS, USAGE, current_version, migrate, wanted_version
from policy.stores.schema import metadata
from policy.stores.sql import SqlStore
from policy.stores.usage_schema import usage


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


def test_the_migrations_make_the_schema_the_code_reads(url: str) -> None:
    migrate(url)
    with connect_engine(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert current_version(url) == wanted_version()


def test_the_migrations_make_the_usage_schema(url: str) -> None:
    migrate(url, USAGE)
    with connect_engine(url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": USAGE.version_table})
        assert compare_metadata(context, usage) == []


def of_release(url: str, file: Path, version: str) -> None:
    """An empty database with an older schema."""
    if file.parent.is_dir() and url.startswith("sqlite"):
        file.touch()
    with connect_engine(url).connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, version)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_logins_and_keys_of_the_second_release_stay(kind: str, url: str, file: Path, request: pytest.FixtureRequest) -> None:
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    of_release(url, file, "0002")
    rows = {
        "accounts": {"name": "shop", "state": "approved", "created": 1},
        "logins": {
            "name": "a" * 32,
            "account": "shop",
            "label": "label",
            "password_hash": "hash",
            "enabled": True,
            "created": 7,
            **asdict(Options(inlinecss=True)),
            "images": "hosted",
        },
        "domains": {"name": "example.com", "account": "shop", "created": 2, "clicks": "go.example.com", "https": True},
        "signing_keys": {
            "domain": "example.com", "selector": "s", "algorithm": "rsa", "public": "cA==", "sealed": b"x\x00y", "created": 5
        },
    }  # fmt: skip
    with connect_engine(url).begin() as connection:
        for table, row in rows.items():
            connection.execute(sa.insert(sa.table(table, *map(sa.column, row))).values(row))
    migrate(url)
    store = SqlStore(url)
    assert store.login("a" * 32) == Login(
        name="a" * 32,
        account="shop",
        passwords=(Password(number=1, hash="hash", created=7),),
        options=Options(inlinecss=True).with_words({"images": "hosted"}),
        label="label",
        created=7,
    )
    kept = SigningKey(
        domain="example.com",
        selector="s",
        account="shop",
        algorithm=Algorithm.RSA,
        public="cA==",
        sealed=b"x\x00y",
        created=5,
        active=5,
    )
    assert store.signing_keys("shop") == (kept,)
    with connect_engine(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    store.close()


def test_domains_of_the_first_release_get_a_click_host(url: str, file: Path) -> None:
    long = "x." * 125 + "xyz"
    assert len(long) == 253
    of_release(url, file, "0001")
    with connect_engine(url).begin() as connection:
        connection.execute(sa.text("INSERT INTO accounts VALUES ('shop', 'approved', 1)"))
        for name in ("example.com", long):
            connection.execute(sa.text("INSERT INTO domains (name, account, created) VALUES (:name, 'shop', 2)"), {"name": name})
    migrate(url)
    store = SqlStore(url)
    assert store.domains() == (
        SenderDomain(name="example.com", account="shop", created=2, clicks="clicks.example.com", https=True),
        SenderDomain(name=long, account="shop", created=2, clicks="", https=True),
    )
    store.close()


def test_migrating_again_changes_nothing(url: str, file: Path) -> None:
    migrate(url)
    SqlStore(url)
    before = file.read_bytes()
    migrate(url)
    assert file.read_bytes() == before


def test_only_the_owner_reads_the_file(url: str, file: Path) -> None:
    migrate(url)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_missing_database_is_an_error_and_is_not_made(url: str, file: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open"):
        SqlStore(url).login("x")
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_a_file_that_is_no_database_is_no_verdict(url: str, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(StoreUnavailable):
        SqlStore(url).login("x")


def test_a_truncated_database_is_no_verdict(url: str, file: Path) -> None:
    migrate(url)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 - 100])
    with pytest.raises(StoreUnavailable):
        SqlStore(url).login("x")


def test_readers_go_on_beside_a_writer_and_writers_give_up_in_time(url: str, file: Path) -> None:
    migrate(url)
    store = SqlStore(url)
    assert store.login("x") is None
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert store.login("x") is None
    with pytest.raises(StoreUnavailable, match="locked"):
        store.remove_login("x")
    other.execute("COMMIT")
    other.close()
    store.close()


def test_a_store_recovers_when_its_database_is_back(url: str, file: Path, tmp_path: Path) -> None:
    store = SqlStore(url)
    with pytest.raises(StoreUnavailable):
        store.accounts()
    migrate(url)
    assert store.accounts() == ()
    store.close()


def test_an_error_names_no_secret(url: str) -> None:
    migrate(url)
    with connect_engine(url).begin() as connection:
        connection.execute(sa.text("DROP TABLE logins"))
        connection.execute(sa.text("INSERT INTO accounts (name, state, created) VALUES ('shop', 'approved', 1)"))
    store = SqlStore(url)
    canary = Password(number=1, hash="canary-hash", created=1)
    login = Login(name="x", account="shop", passwords=(canary,), options=Options(), created=1)
    with pytest.raises(StoreUnavailable) as caught:
        store.add_login(login)
    assert "canary" not in str(caught.value)


def test_a_database_server_that_was_restarted_costs_nobody_anything(postgresql) -> None:
    url = postgresql.database()
    migrate(url)
    store = SqlStore(url)
    assert store.accounts() == ()
    postgresql.stop()
    with pytest.raises(StoreUnavailable):
        store.accounts()
    postgresql.start()
    assert store.accounts() == ()
    postgresql.stop()
    postgresql.start()
    assert store.accounts() == ()
    store.close()


def test_the_password_of_a_database_comes_from_a_file_and_is_in_no_text(postgresql, tmp_path: Path) -> None:
    file = tmp_path / "password"
    url = with_password_file(postgresql.database(), file)
    with pytest.raises(StoreUnavailable) as caught:
        migrate(url)
    assert str(file) in str(caught.value)
    file.write_text("correct horse\n")
    migrate(url)
    with connect_engine(url).connect() as connection:
        assert connection.connection.driver_connection.info.password == "correct horse"
    assert "correct" not in repr(connect_engine(url)) + url
