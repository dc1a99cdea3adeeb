"""The journal's database: SQLite or PostgreSQL, through SQLAlchemy Core.

The spool is written first (`journal.spool`), this is filled from it. A segment is removed as soon as its records are
committed here, so a commit must survive a power cut: SQLite runs with synchronous=FULL (one fsync for a batch of thousands is
no cost), PostgreSQL with the server's own synchronous_commit, which is on unless its operator turned it off.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from journal import rows
from journal.records import CopyRecord, MessageRecord, Record, VisitKind, VisitRecord
from journal.rows import BadRecord
from journal.schema import copies, disabled_links, messages, segments, visits
from policy.stores import StoreUnavailable
from policy.stores.engine import cause, connect_engine, database_file

FEW = 500  # values in one statement; SQLite takes 32,766
MANY = 5_000  # rows changed in one transaction: other writers wait meanwhile, so it must not take long
STREAMED = 1_000  # rows in memory at once

RECORDS = (messages, copies, visits)
_BY_NAME = {table.name: table for table in RECORDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisabledLink:
    """A destination that no visitor is sent to any more; `since` is UTC, seconds since 1970."""

    destination: str
    since: int
    reason: str


class JournalStore:
    """The journal in a database whose schema is in place (see `journal.migrate`).

    Every method raises StoreUnavailable where the database cannot answer. They may be called from several threads. Nothing is
    opened before the first call, so it may be made before a fork.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url, pooled=True)
        self._file = database_file(url)
        self._inode: tuple[int, int] | None = None
        self._insert: Any = sqlite.insert if self._file else postgresql.insert

    def close(self) -> None:
        """Gives up the connections that are not in use."""
        self._engine.dispose()

    # -- filling -------------------------------------------------------------------------------------------------------

    def insert(
        self, entries: Iterable[tuple[str, Record]], drained: Mapping[str, int] | None = None, gone: Sequence[str] = ()
    ) -> None:
        """Adds records that are not there yet, each with its identifier (a message has its own), in one transaction.

        `drained` notes how far segments have been read, `gone` which of them are no more. Raises BadRecord, with nothing
        added, where one of the records can never be kept.
        """
        found: dict[str, list[rows.Row]] = {}
        for identifier, record in entries:
            table, row = rows.table_and_row(identifier, record)
            found.setdefault(table, []).append(row)
        try:
            with self._transaction() as connection:
                for name, batch in found.items():
                    connection.execute(self._once(_BY_NAME[name]), batch)
                if drained:
                    statement = self._insert(segments)
                    update = {"drained": statement.excluded.drained}
                    noted = [{"id": name, "drained": octets} for name, octets in drained.items()]
                    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=update), noted)
                for few in _by(gone, FEW):
                    connection.execute(sa.delete(segments).where(segments.c.id.in_(few)))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, (DataError, IntegrityError)):
                raise BadRecord(str(error)) from error
            raise

    def _once(self, table: sa.Table) -> Any:
        """The statement that adds a row which is not there yet. A message's own decisions fill in for those of its copy: none."""
        statement = self._insert(table)
        if table is not messages:
            return statement.on_conflict_do_nothing()
        decided = {"decisions": statement.excluded.decisions}
        # Not the column: where the table is split by time, that is a part of the key, too (partitions.sql).
        key = {"index_elements": ["id"]} if self._file else {"constraint": "messages_pkey"}
        return statement.on_conflict_do_update(**key, set_=decided, where=messages.c.decisions == rows.UNDECIDED)

    def drained(self, names: Sequence[str]) -> dict[str, int]:
        """How far these segments have been read, in octets; those nothing was read of are not in it."""
        with self._transaction() as connection:
            parts = [connection.execute(sa.select(segments).where(segments.c.id.in_(few))) for few in _by(names, FEW)]
            return {row.id: row.drained for part in parts for row in part}

    # -- reading -------------------------------------------------------------------------------------------------------

    def messages_by(
        self,
        *,
        id: str | None = None,  # noqa: A002  # what the column is called
        queue_id: str | None = None,
        message_id: str | None = None,
        recipient: str | None = None,
        destination: str | None = None,
        limit: int = STREAMED,
    ) -> tuple[MessageRecord, ...]:
        """The messages that agree with everything given, newest first.

        A queue id may also be that of a copy; `destination` is where a visitor was sent by one of the message's links.
        """
        conditions = []
        if id is not None:
            conditions.append(messages.c.id == rows.text(id))
        if queue_id is not None:
            wanted = rows.text(queue_id)
            copied = sa.select(copies.c.message).where(copies.c.queue_id == wanted)
            conditions.append((messages.c.queue_id == wanted) | messages.c.id.in_(copied))
        if message_id is not None:
            conditions.append(messages.c.message_id == rows.text(message_id))
        if recipient is not None:
            conditions.append(messages.c.recipient_lower == rows.text(recipient).lower())
        if destination is not None:
            visited = sa.select(visits.c.message).where(visits.c.destination == rows.text(destination))
            conditions.append(messages.c.id.in_(visited))
        if not conditions:
            return ()
        statement = sa.select(messages).where(*conditions).order_by(messages.c.time.desc(), messages.c.id).limit(limit)
        return tuple(map(rows.message, self._rows(statement)))

    def copies_of(self, identifiers: Sequence[str]) -> tuple[CopyRecord, ...]:
        """The copies of these messages, oldest first."""
        return tuple(rows.copy(row) for row in self._of(copies, identifiers))

    def visits_of(self, identifiers: Sequence[str]) -> tuple[VisitRecord, ...]:
        """The clicks and openings of these messages, oldest first."""
        return tuple(rows.visit(row) for row in self._of(visits, identifiers))

    def counts(self) -> dict[str, int]:
        """How many rows each table of records has."""
        return {table.name: self._count(table) for table in RECORDS}

    # -- exporting -----------------------------------------------------------------------------------------------------

    def attempts(self, since: int, until: int) -> Iterator[MessageRecord]:
        """The messages from `since` until before `until`, oldest first, a few in memory at a time."""
        statement = sa.select(messages).where(_within(messages, since, until)).order_by(messages.c.time, messages.c.id)
        return map(rows.message, self._stream(statement))

    def visits(
        self, kind: VisitKind, since: int, until: int, *, people: bool = False
    ) -> Iterator[tuple[VisitRecord, MessageRecord | None]]:
        """The visits of a kind like `attempts`, each with its message where that is known; `people` leaves machines out."""
        statement = sa.select(visits, messages).join_from(visits, messages, visits.c.message == messages.c.id, isouter=True)
        statement = statement.where(*self._visits_where(kind, since, until, people)).set_label_style(
            sa.LABEL_STYLE_TABLENAME_PLUS_COL
        )
        for row in self._stream(statement.order_by(visits.c.time, visits.c.id)):
            found = row._mapping
            about = _Labelled(found, "messages_")
            yield rows.visit(_Labelled(found, "visits_")), rows.message(about) if about.id is not None else None

    def count_attempts(self, since: int, until: int) -> int:
        """How many `attempts` gives."""
        return self._count(messages, _within(messages, since, until))

    def count_visits(self, kind: VisitKind, since: int, until: int, *, people: bool = False) -> int:
        """How many `visits` gives."""
        return self._count(visits, *self._visits_where(kind, since, until, people))

    # -- forgetting ----------------------------------------------------------------------------------------------------

    def prune(self, before: int, limit: int = MANY) -> int:
        """Removes at most `limit` rows of each table that are older than `before`; returns how many, 0 when there are no more."""
        removed = 0
        for table in RECORDS:
            old = sa.select(table.c.id).where(table.c.time < before).order_by(table.c.time).limit(limit)
            old = old.with_for_update(skip_locked=True)  # what another host removes at this moment; SQLite has one writer
            with self._transaction() as connection:
                removed += connection.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount
        return removed

    def delete_recipient(self, address: str) -> dict[str, int]:
        """Removes everything about a recipient, in any case of letters; returns how many rows of each table.

        An interruption leaves the messages to a second call, which then finds the rest by them.
        """
        removed = dict.fromkeys((table.name for table in RECORDS), 0)
        his = sa.select(messages.c.id).where(messages.c.recipient_lower == rows.text(address).lower()).limit(FEW)
        while identifiers := [row.id for row in self._rows(his)]:
            with self._transaction() as connection:
                for table, column in ((visits, visits.c.message), (copies, copies.c.message), (messages, messages.c.id)):
                    removed[table.name] += connection.execute(sa.delete(table).where(column.in_(identifiers))).rowcount
        return removed

    # -- disabled links ------------------------------------------------------------------------------------------------

    def disable_link(self, destination: str, since: int, reason: str) -> bool:
        """Sends nobody to a destination any more; False where that is so already, and nothing changes."""
        row = {"digest": _digest(destination), "destination": rows.text(destination), "since": since, "reason": rows.text(reason)}
        with self._transaction() as connection:
            statement = self._insert(disabled_links).values(row).on_conflict_do_nothing().returning(disabled_links.c.digest)
            return connection.execute(statement).first() is not None

    def enable_link(self, destination: str) -> bool:
        """The inverse of `disable_link`; False where it was not disabled."""
        with self._transaction() as connection:
            statement = sa.delete(disabled_links).where(disabled_links.c.digest == _digest(destination))
            return bool(connection.execute(statement).rowcount)

    def disabled_links(self) -> tuple[DisabledLink, ...]:
        """The destinations nobody is sent to, oldest first."""
        statement = sa.select(disabled_links).order_by(disabled_links.c.since, disabled_links.c.digest)
        return tuple(
            DisabledLink(destination=row.destination, since=row.since, reason=row.reason) for row in self._rows(statement)
        )

    # -- connections ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            self._look_at_file()
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(cause(error)) from error

    def _look_at_file(self) -> None:
        """Drops the connections to a database file that was replaced: what is written to the old one is lost."""
        if self._file is None:
            return
        found = self._file.stat()
        inode = (found.st_dev, found.st_ino)
        if inode != self._inode:
            self._engine.dispose()
            self._inode = inode

    def _rows(self, statement: sa.Select[Any]) -> list[Any]:
        with self._transaction() as connection:
            return list(connection.execute(statement))

    def _count(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        with self._transaction() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0

    def _stream(self, statement: sa.Select[Any]) -> Iterator[Any]:
        with (
            self._transaction() as connection,
            connection.execution_options(yield_per=STREAMED).execute(statement) as found,
        ):
            yield from found

    def _of(self, table: sa.Table, identifiers: Sequence[str]) -> list[Any]:
        with self._transaction() as connection:
            parts = [connection.execute(sa.select(table).where(table.c.message.in_(few))) for few in _by(identifiers, FEW)]
            return sorted((row for part in parts for row in part), key=lambda row: (row.time, row.id))

    @staticmethod
    def _visits_where(kind: VisitKind, since: int, until: int, people: bool) -> list[sa.ColumnElement[bool]]:
        conditions = [visits.c.kind == kind.value, _within(visits, since, until)]
        return [*conditions, ~visits.c.machine] if people else conditions


class _Labelled:
    """The columns of one table in a row of a join, by their own names."""

    def __init__(self, row: Mapping[str, Any], prefix: str) -> None:
        self._row = row
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return self._row[self._prefix + name]


def _within(table: sa.Table, since: int, until: int) -> sa.ColumnElement[bool]:
    return (table.c.time >= since) & (table.c.time < until)


def _digest(destination: str) -> str:
    return hashlib.sha256(destination.encode("utf-8", "surrogatepass")).hexdigest()


def _by(values: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (values[at : at + count] for at in range(0, len(values), count))
