"""Data of every released version goes on: databases as its own commands made them, in tests/released.

Each folder has dumps of the three databases, the keys in hex, and what is known of them: passwords that open logins, links
with where they lead, and what that release exported.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from policy.domains import unseal_private_key
from policy.password import verify
from policy.stores.engine import connect_engine
from policy.stores.migrate import Schema, current_version, wanted_version
from smtpeter import database, snapshot
from smtpeter.__main__ import run
from smtpeter.settings import load

RELEASED = Path(__file__).parent.parent / "released"
RELEASES = sorted(path.name for path in RELEASED.iterdir())


def known(release: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RELEASED / release / "known.json").read_text())
    return found


def load_sqlite(release: str, name: str, file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((RELEASED / release / f"{name}.sql").read_text())


def load_postgresql(file: Path, url: str, schema: Schema) -> None:
    """The rows of an SQLite database in PostgreSQL, in tables as the migrations of that time made them."""
    version = current_version(f"sqlite:///{file}", schema)
    assert version is not None
    with connect_engine(url).connect() as target:
        config = schema.config()
        config.attributes["connection"] = target
        command.upgrade(config, version)
    with connect_engine(f"sqlite:///{file}").connect() as source, connect_engine(url).begin() as target:
        found = sa.MetaData()
        found.reflect(target)
        names = set(sa.inspect(source).get_table_names()) - {schema.version_table}
        for table in (table for table in found.sorted_tables if table.name in names):
            columns = [sa.column(column.name, column.type) for column in table.columns]
            rows = source.execute(sa.select(*columns).select_from(sa.table(table.name))).mappings().all()
            if rows:
                target.execute(sa.insert(table), [dict(row) for row in rows])


@pytest.fixture(params=[(release, kind) for release in RELEASES for kind in ("sqlite", "postgresql")], ids="-".join)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A release, and a settings file that leads to its data."""
    release, kind = request.param
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("master.key", "keys.ring"):
        (folder / name).write_bytes(bytes.fromhex(known(release)[name]))
    lines = ['data = "data"', 'hostname = "mail.example.com"']
    tables = []
    for name, schema in snapshot.SCHEMAS.items():
        file = (folder if kind == "sqlite" else tmp_path) / f"{name}.db"
        load_sqlite(release, name, file)
        if kind == "postgresql":
            url = request.getfixturevalue("postgresql").database()
            load_postgresql(file, url, schema)
            if name == "journal":
                tables.append(f'[journal]\ndatabase = "{url}"')
            else:
                lines.append(f'{"database" if name == "policy" else name} = "{url}"')
    settings = tmp_path / "smtpeter.toml"
    settings.write_text("\n".join((*lines, *tables)))
    return release, settings


@pytest.fixture
def smtpeter_of(data: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command on that data; returns what it printed."""

    def go(*words: str) -> str:
        capsys.readouterr()
        assert run(["--settings", str(data[1]), *words]) == 0
        return capsys.readouterr().out

    return go


def test_the_data_of_a_release_goes_on(data: tuple[str, Path], smtpeter_of: Callable[..., str]) -> None:
    release, file = data
    facts = known(release)
    settings = load(file)
    database.prepare(settings)
    for name, url in snapshot.urls(settings).items():
        assert current_version(url, snapshot.SCHEMAS[name]) == wanted_version(snapshot.SCHEMAS[name])
    store = database.open_database(settings)
    for login in facts["logins"]:
        found = store.login(login["name"])
        (password,) = [each for each in found.passwords if each.number == login["number"]]
        assert verify(password.hash, login["password"].encode())
        assert not verify(password.hash, login["password"].encode() + b" ")
        assert found.enabled is login["opens"]
    keys = [key for account in store.accounts() for key in store.signing_keys(account.name)]
    assert len(keys) >= 2
    for key in keys:
        assert unseal_private_key(settings.master_key_file.read_bytes(), key).startswith(b"-----BEGIN")
    store.close()
    for link in facts["links"]:
        shown = json.loads(smtpeter_of("link", "show", link["url"], "--json"))
        assert shown.get("destination", "") == link["location"]
    for kind, export in facts["exports"].items():
        assert export
        assert smtpeter_of("journal", "export", "--type", kind, "--date", facts["day"], "--format", "csv") == export


def test_every_kind_of_thing_is_in_the_data_of_a_release() -> None:
    assert RELEASES
    for release in RELEASES:
        facts = known(release)
        assert {link["status"] for link in facts["links"]} == {200, 302}
        assert {login["opens"] for login in facts["logins"]} == {True, False}
        assert set(facts["exports"]) == {"attempts", "clicks", "opens"}
