"""Brings the schema of the journal's database to the version of this release."""

from pathlib import Path

from policy.stores import migrate as room
from policy.stores.migrate import Schema

JOURNAL = Schema(migrations=Path(__file__).parent / "migrations", version_table="journal_version")


def wanted_version() -> str:
    """The schema version this release works with."""
    return room.wanted_version(JOURNAL)


def migrate(url: str) -> None:
    """Like `policy.stores.migrate.migrate`, for the journal. Raises StoreUnavailable."""
    room.migrate(url, JOURNAL)


def current_version(url: str) -> str | None:
    """The version of the schema found in the database, None for an empty one. Raises StoreUnavailable."""
    return room.current_version(url, JOURNAL)
