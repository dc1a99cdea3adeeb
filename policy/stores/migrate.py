"""Brings the schema of a database to the version of this release (Alembic): that of the policy database, or another room's.

Versions are numbers of four digits. Within a thousand a schema only grows, so a release works with any later one of the same
thousand and leaves it as it is: the application can go back to the release before without the schema. What an older release
could not work with begins the next thousand.
"""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from policy.stores import StoreUnavailable
from policy.stores.engine import cause, connect_engine, database_file, database_url

THOUSAND = 1_000
MIGRATIONS = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = 0x736D7470  # any number that is ours: a lock of PostgreSQL that nodes hold while they migrate


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The migrations in a folder, and the table that tells which of them a database has seen.

    The tables have different names, so that two rooms may share one database.
    """

    migrations: Path
    version_table: str

    def config(self) -> Config:
        """What Alembic wants to know."""
        config = Config()
        config.set_main_option("script_location", str(self.migrations).replace("%", "%%"))
        config.attributes["version_table"] = self.version_table
        return config


POLICY = Schema(migrations=MIGRATIONS, version_table="alembic_version")
USAGE = Schema(migrations=Path(__file__).parent / "usage_migrations", version_table="alembic_version_usage")


def wanted_version(schema: Schema = POLICY) -> str:
    """The schema version this release works with."""
    return str(ScriptDirectory.from_config(schema.config()).get_current_head())


def works_with(found: str | None, wanted: str) -> bool:
    """Whether a release that wants one version works with a database at another: the same, or a later one of its thousand."""
    if found is None or not found.isdecimal():
        return False
    return int(found) >= int(wanted) and int(found) // THOUSAND == int(wanted) // THOUSAND


def is_newer(found: str | None, wanted: str) -> bool:
    """Whether a version is one that this release cannot know: a later one, or none of ours."""
    return found is not None and (not found.isdecimal() or int(found) > int(wanted))


def migrate(url: str, schema: Schema = POLICY) -> None:
    """Creates the database file where there is none (SQLite, mode 0600) and brings its schema to `wanted_version`, unless it
    is at a later one that this release works with.

    All of it happens in one transaction. Raises StoreUnavailable where the database cannot be opened or changed, or is at a
    later version that this release does not work with.
    """
    parsed, file = database_url(url), database_file(url)
    try:
        if file is not None:
            file.touch(mode=0o600)
        with connect_engine(url).connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # readers never wait for a writer
                connection.rollback()
            config = schema.config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (SQLAlchemyError, OSError, CommandError) as error:
        raise StoreUnavailable(f"{cause(error)} ({parsed.render_as_string()})") from error


def run() -> None:
    """Runs the migrations on the connection that `migrate` hands over: all that the env.py of a migrations folder does."""
    attributes = context.config.attributes
    connection: sa.Connection = attributes["connection"]
    version_table = attributes.get("version_table", POLICY.version_table)
    if connection.dialect.name == "sqlite":
        # The driver begins a transaction at the first INSERT only; a schema change must be all or nothing as well.
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        context.configure(connection=connection, version_table=version_table, transactional_ddl=False)
        try:
            _run_unless_newer()
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")
        return
    context.configure(connection=connection, version_table=version_table)
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})")
        _run_unless_newer()


def _run_unless_newer() -> None:
    """Asked while nobody else migrates: a node of the next release may have done so a moment ago."""
    found, wanted = context.get_context().get_current_revision(), str(context.get_head_revision())
    if not is_newer(found, wanted):
        context.run_migrations()
    elif not works_with(found, wanted):
        raise CommandError(f"it is at schema {found} of a later release, and this release works with {wanted}")


def current_version(url: str, schema: Schema = POLICY) -> str | None:
    """The version of the schema found in the database, None for an empty one. Raises StoreUnavailable."""
    try:
        with connect_engine(url).connect() as connection:
            options = {"version_table": schema.version_table}
            return MigrationContext.configure(connection, opts=options).get_current_revision()
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"{cause(error)} ({database_url(url).render_as_string()})") from error
