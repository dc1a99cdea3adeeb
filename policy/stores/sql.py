"""Logins, accounts, domains and keys in a SQL database: SQLite by default, through SQLAlchemy Core.

Every thread reads over a connection of its own that lives as long as the thread, in autocommit mode: each statement sees
the database as it then is, and none holds a lock between two messages.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from policy.account import Account, State
from policy.domains import Algorithm, SenderDomain, SigningKey
from policy.login import Login
from policy.options import BY_NAME, Images, Options
from policy.stores import Conflict, NotFound, StoreUnavailable
from policy.stores.engine import cause, connect_engine
from policy.stores.schema import accounts, domains, logins, signing_keys

RECENT = 100_000_000  # nanoseconds; many ticks of any kernel's clock


class SqlStore:
    """An AdminStore on a SQL database whose schema is in place (see `policy.stores.migrate`).

    Nothing is opened before the first call, so it may be made before a fork.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url)
        self._thread = threading.local()
        database = sa.make_url(url).database or ""
        # A commit writes to the log beside the database, a checkpoint to the database (sqlite.org/wal.html).
        self._files = (database, f"{database}-wal")

    # -- reading -------------------------------------------------------------------------------------------------------

    def revision(self) -> object:
        """See LoginStore. SQLite only: the time of the last write to the database's files tells of a change.

        Time stamps of files are as coarse as the kernel's clock tick. A write that recent may have been followed by another
        one with the same stamp, so until it is a little older no two revisions are equal.
        """
        stamps = tuple(_stamp(path) for path in self._files)
        if time.time_ns() - max(stamp[0] for stamp in stamps) < RECENT:
            return object()
        return stamps

    def login(self, name: str) -> Login | None:
        """See LoginStore."""
        rows = self._rows(sa.select(logins).where(logins.c.name == name))
        return _login(rows[0]) if rows else None

    def account(self, name: str) -> Account | None:
        """See LoginStore."""
        rows = self._rows(sa.select(accounts).where(accounts.c.name == name))
        return _account(rows[0]) if rows else None

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        """See LoginStore."""
        statement = sa.select(signing_keys).join(domains).where(domains.c.account == account)
        rows = self._rows(statement.order_by(signing_keys.c.created, signing_keys.c.selector))
        return tuple(_signing_key(row) for row in rows)

    def accounts(self) -> tuple[Account, ...]:
        """See AdminStore."""
        return tuple(_account(row) for row in self._rows(sa.select(accounts).order_by(accounts.c.name)))

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """See AdminStore."""
        statement = sa.select(logins).order_by(logins.c.created, logins.c.name)
        if account is not None:
            statement = statement.where(logins.c.account == account)
        return tuple(_login(row) for row in self._rows(statement))

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        """See AdminStore."""
        statement = sa.select(domains).order_by(domains.c.name)
        if account is not None:
            statement = statement.where(domains.c.account == account)
        return tuple(SenderDomain(**row._mapping) for row in self._rows(statement))

    # -- administering -------------------------------------------------------------------------------------------------

    def add_account(self, account: Account) -> None:
        """See AdminStore."""
        row = {"name": account.name, "state": account.state.value, "created": account.created}
        with self._writing(f"there is an account {account.name!r} already") as connection:
            connection.execute(sa.insert(accounts).values(row))

    def set_state(self, account: str, state: State) -> None:
        """See AdminStore."""
        self._change(accounts, account, "account", state=state.value)

    def add_login(self, login: Login) -> None:
        """See AdminStore."""
        row = {
            "name": login.name,
            "account": login.account,
            "label": login.label,
            "password_hash": login.password_hash,
            "enabled": login.enabled,
            "created": login.created,
            **_option_columns(login.options),
        }
        self._require(self.account(login.account), "account", login.account)
        with self._writing(f"there is a login {login.name!r} already") as connection:
            connection.execute(sa.insert(logins).values(row))

    def set_options(self, login: str, options: Options) -> None:
        """See AdminStore."""
        self._change(logins, login, "login", **_option_columns(options))

    def set_label(self, login: str, label: str) -> None:
        """See AdminStore."""
        self._change(logins, login, "login", label=label)

    def set_enabled(self, login: str, enabled: bool) -> None:
        """See AdminStore."""
        self._change(logins, login, "login", enabled=enabled)

    def set_password_hash(self, login: str, password_hash: str) -> None:
        """See AdminStore."""
        self._change(logins, login, "login", password_hash=password_hash)

    def remove_login(self, login: str) -> None:
        """See AdminStore."""
        with self._writing() as connection:
            removed = connection.execute(sa.delete(logins).where(logins.c.name == login))
            self._require(removed.rowcount, "login", login)

    def add_domain(self, domain: SenderDomain, keys: tuple[SigningKey, ...]) -> None:
        """See AdminStore."""
        self._require(self.account(domain.account), "account", domain.account)
        row = {column.name: getattr(domain, column.name) for column in domains.columns}
        with self._writing(f"there is a sender domain {domain.name!r} already") as connection:
            connection.execute(sa.insert(domains).values(row))
            for key in keys:
                connection.execute(sa.insert(signing_keys).values(_key_columns(key)))

    def set_click_host(self, domain: str, host: str, *, https: bool) -> None:
        """See AdminStore."""
        self._change(domains, domain, "sender domain", clicks=host, https=https)

    def remove_domain(self, name: str) -> None:
        """See AdminStore."""
        with self._writing() as connection:
            connection.execute(sa.delete(signing_keys).where(signing_keys.c.domain == name))
            removed = connection.execute(sa.delete(domains).where(domains.c.name == name))
            self._require(removed.rowcount, "sender domain", name)

    def close(self) -> None:
        """Gives up the calling thread's connection."""
        connection = self._thread.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    # -- connections ---------------------------------------------------------------------------------------------------

    def _rows(self, statement: sa.Select[Any]) -> list[Any]:
        try:
            connection = self._thread.__dict__.get("connection")
            if connection is None:
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._thread.connection = connection
            return list(connection.execute(statement))
        except (SQLAlchemyError, OSError) as error:
            self.close()
            raise StoreUnavailable(cause(error)) from error

    @contextmanager
    def _writing(self, taken: str = "") -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise Conflict(taken or "it is still in use") from error
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(cause(error)) from error

    def _change(self, table: sa.Table, name: str, noun: str, **columns: object) -> None:
        with self._writing() as connection:
            changed = connection.execute(sa.update(table).where(table.c.name == name).values(**columns))
            self._require(changed.rowcount, noun, name)

    @staticmethod
    def _require(found: object, noun: str, name: str) -> None:
        if not found:
            raise NotFound(f"there is no {noun} {name!r}")


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116  # a Path takes longer to make than the look takes
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def _account(row: Any) -> Account:
    return Account(name=row.name, state=State(row.state), created=row.created)


def _login(row: Any) -> Login:
    words = {name: getattr(row, name) for name in BY_NAME}
    return Login(
        name=row.name,
        account=row.account,
        password_hash=row.password_hash,
        options=Options(**{**words, "images": Images(row.images)}),
        enabled=row.enabled,
        label=row.label,
        created=row.created,
    )


def _signing_key(row: Any) -> SigningKey:
    return SigningKey(**{**row._mapping, "algorithm": Algorithm(row.algorithm)})


def _option_columns(options: Options) -> dict[str, object]:
    return {name: getattr(options, name) for name in BY_NAME} | {"images": options.images.value}


def _key_columns(key: SigningKey) -> dict[str, object]:
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm.value,
        "public": key.public,
        "sealed": key.sealed,
        "created": key.created,
    }
