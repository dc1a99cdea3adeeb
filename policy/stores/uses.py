"""Last uses of passwords, and the places where logins succeeded, in the usage database."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from policy.stores import StoreUnavailable
from policy.stores.engine import cause, connect_engine, database_file
from policy.stores.usage_schema import places, uses

CLIENT_LENGTH = 255  # characters of the name a client gives itself; a domain name has no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """When and how a password was used last: `time` is UTC, seconds since 1970, `client` the name the client gave itself.

    `password` is its number, 0 where a directory compares it.
    """

    login: str
    password: int
    time: int
    address: str
    mechanism: str
    client: str = ""


class SqlUses:
    """Uses and places in a usage database whose schema is in place (`policy.stores.migrate.USAGE`).

    Every method raises StoreUnavailable where the database cannot answer, and may be called from several threads. Nothing is
    opened before the first call.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url, pooled=True)
        self._insert: Any = sqlite.insert if database_file(url) else postgresql.insert

    def note(self, used: Sequence[Use], visits: Mapping[tuple[str, str], int]) -> None:
        """Adds uses, and visits (login and place, with the time), in one transaction.

        What is older than what is there already changes nothing.
        """
        with self._transaction() as connection:
            # In one order, so that two nodes never wait for each other.
            if used:
                rows = [_columns(use) for use in sorted(used, key=lambda use: (use.login, use.password))]
                connection.execute(self._newer_use(), rows)
            if visits:
                statement = self._insert(places)
                update = {"last": statement.excluded.last}
                newer = statement.excluded.last > places.c.last
                found = [{"login": name, "place": at, "first": time, "last": time} for (name, at), time in sorted(visits.items())]
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["login", "place"], set_=update, where=newer), found
                )

    def _newer_use(self) -> Any:
        statement = self._insert(uses)
        new = statement.excluded
        # One that has logged in again, but has not sent yet, is still the client that it was.
        client = sa.case((new.client != "", new.client), (new.address == uses.c.address, uses.c.client), else_="")
        update = {"time": new.time, "address": new.address, "mechanism": new.mechanism, "client": client}
        keys = ["login", "password"]
        return statement.on_conflict_do_update(index_elements=keys, set_=update, where=new.time >= uses.c.time)

    def of(self, login: str) -> dict[int, Use]:
        """The last use of each password of a login, by its number."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(uses).where(uses.c.login == login))
            return {row.password: Use(**row._mapping) for row in rows}

    def places(self, since: int, limit: int) -> dict[tuple[str, str], int]:
        """Where logins were used since a time, with the time of the last use: the `limit` newest, oldest first."""
        statement = sa.select(places).where(places.c.last >= since).order_by(places.c.last.desc()).limit(limit)
        with self._transaction() as connection:
            found = [((row.login, row.place), row.last) for row in connection.execute(statement)]
        return dict(reversed(found))

    def forget(self, before: int) -> None:
        """Removes the places that were not used since a time."""
        with self._transaction() as connection:
            connection.execute(sa.delete(places).where(places.c.last < before))

    def remove(self, login: str) -> None:
        """Removes everything about a login."""
        with self._transaction() as connection:
            for table in (uses, places):
                connection.execute(sa.delete(table).where(table.c.login == login))

    def close(self) -> None:
        """Gives up the connections that are not in use."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(cause(error)) from error


def _columns(use: Use) -> dict[str, object]:
    return {
        "login": use.login,
        "password": use.password,
        "time": use.time,
        "address": use.address,
        "mechanism": use.mechanism,
        "client": use.client,
    }
