"""Brings the schema of the policy database to the version of this release (Alembic)."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from policy.stores import StoreUnavailable
from policy.stores.sql import cause, connect_engine

MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def wanted_version() -> str:
    """The schema version this release works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def migrate(url: str) -> None:
    """Creates the database file where there is none (SQLite, mode 0600) and brings its schema to `wanted_version`.

    All of it happens in one transaction. Raises StoreUnavailable where the database cannot be opened or changed.
    """
    parsed = sa.make_url(url)
    try:
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).touch(mode=0o600)
        with connect_engine(url).connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # readers never wait for a writer
                connection.rollback()
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"{cause(error)} ({parsed.render_as_string()})") from error


def current_version(url: str) -> str | None:
    """The version of the schema found in the database, None for an empty one. Raises StoreUnavailable."""
    try:
        with connect_engine(url).connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"{cause(error)} ({sa.make_url(url).render_as_string()})") from error
