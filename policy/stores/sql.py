"""Logins, accounts, domains and keys in a SQL database: SQLite by default, through SQLAlchemy Core.

Every thread reads over a connection of its own that lives as long as the thread, in autocommit mode: each statement sees
the database as it then is, and none holds a lock between two messages.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from policy.account import Account
from policy.click_hosts import HostHealth
from policy.domains import Rule, SenderDomain, SigningKey
from policy.login import Login
from policy.stores import LAG, Conflict, NotFound, StoreUnavailable, rows
from policy.stores.engine import cause, connect_engine, database_file
from policy.stores.schema import accounts, click_hosts, domains, logins, passwords, signing_keys

RECENT = 100_000_000  # nanoseconds; many ticks of any kernel's clock
_KEY_ORDER = (signing_keys.c.created, signing_keys.c.domain, signing_keys.c.selector)
_AT_ONCE = 500  # names that one statement takes: databases limit its parameters


class SqlStore:
    """An AdminStore on a SQL database whose schema is in place (see `policy.stores.migrate`).

    Nothing is opened before the first call, so it may be made before a fork.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect_engine(url)
        self._thread = threading.local()
        file = database_file(url)
        self._sqlite = file is not None
        # A commit writes to the log beside the database, a checkpoint to the database (sqlite.org/wal.html).
        self._files = (str(file), f"{file}-wal")

    # -- reading -------------------------------------------------------------------------------------------------------

    def revision(self) -> object:
        """See LoginStore. The time of the last write to an SQLite database's files tells of a change; of PostgreSQL only the
        time that has passed does, so it is another one after LAG seconds, changed or not.

        Time stamps of files are as coarse as the kernel's clock tick. A write that recent may have been followed by another
        one with the same stamp, so until it is a little older no two revisions are equal.
        """
        if not self._sqlite:
            return time.monotonic() // LAG
        stamps = tuple(_stamp(path) for path in self._files)
        if time.time_ns() - max(stamp[0] for stamp in stamps) < RECENT:
            return object()
        return stamps

    def login(self, name: str) -> Login | None:
        """See Logins."""
        found = self._rows(sa.select(logins).where(logins.c.name == name)) if _possible(name) else []
        return rows.login(found[0], self._rows(_passwords_of(name))) if found else None

    def bind(self, login: Login, password: bytes) -> bool:
        """See Logins; every login here has its password here."""
        raise ValueError(f"the login {login.name} has its password here")

    def account(self, name: str) -> Account | None:
        """See LoginStore."""
        found = self._rows(sa.select(accounts).where(accounts.c.name == name)) if _possible(name) else []
        return rows.account(found[0]) if found else None

    def signing_keys(self, account: str) -> tuple[SigningKey, ...]:
        """See LoginStore."""
        statement = sa.select(signing_keys).where(signing_keys.c.account == account)
        return tuple(map(rows.signing_key, self._rows(statement.order_by(*_KEY_ORDER))))

    def accounts(self) -> tuple[Account, ...]:
        """See AdminStore."""
        return tuple(map(rows.account, self._rows(sa.select(accounts).order_by(accounts.c.name))))

    def logins(self, account: str | None = None) -> tuple[Login, ...]:
        """See LoginAdmin."""
        statement = sa.select(logins).order_by(logins.c.created, logins.c.name)
        theirs = sa.select(passwords).order_by(passwords.c.login, passwords.c.number)
        if account is not None:
            statement = statement.where(logins.c.account == account)
            theirs = theirs.join(logins).where(logins.c.account == account)
        found: dict[str, list[Any]] = {}
        for row in self._rows(theirs):
            found.setdefault(row.login, []).append(row)
        return tuple(rows.login(row, found.get(row.name, ())) for row in self._rows(statement))

    def domains(self, account: str | None = None) -> tuple[SenderDomain, ...]:
        """See LoginStore."""
        statement = sa.select(domains).order_by(domains.c.name)
        if account is not None:
            statement = statement.where(domains.c.account == account)
        return tuple(map(rows.domain, self._rows(statement)))

    def click_hosts(self, hosts: frozenset[str] | None = None) -> tuple[HostHealth, ...]:
        """See LoginStore."""
        statement = sa.select(click_hosts)
        if hosts is None:
            return _ordered(map(rows.health, self._rows(statement)))
        names = list(filter(_possible, hosts))
        parts = (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE))
        return _ordered(rows.health(row) for part in parts for row in self._rows(statement.where(click_hosts.c.host.in_(part))))

    # -- administering -------------------------------------------------------------------------------------------------

    def add_account(self, account: Account) -> None:
        """See AdminStore."""
        with self._writing(f"there is an account {account.name!r} already") as connection:
            connection.execute(sa.insert(accounts).values(rows.account_columns(account)))

    def change_account(self, name: str, change: Callable[[Account], Account]) -> Account:
        """See AdminStore."""
        with self._writing() as connection:
            found = self._only(connection, accounts, name, "account")
            changed = replace(change(rows.account(found)), name=name, created=found.created)
            connection.execute(sa.update(accounts).where(accounts.c.name == name).values(rows.account_columns(changed)))
        return changed

    def add_login(self, login: Login) -> None:
        """See LoginAdmin. Raises ValueError for an external one."""
        if login.external:
            raise ValueError("a login whose password a directory compares is kept there")
        self._require(self.account(login.account), "account", login.account)
        with self._writing(f"there is a login {login.name!r} already") as connection:
            connection.execute(sa.insert(logins).values(rows.login_columns(login)))
            self._set_passwords(connection, login)

    def change_login(self, name: str, change: Callable[[Login], Login]) -> Login:
        """See LoginAdmin."""
        with self._writing() as connection:
            found = self._only(connection, logins, name, "login")
            login = rows.login(found, connection.execute(_passwords_of(name)))
            changed = replace(change(login), name=name, account=login.account, created=login.created)
            connection.execute(sa.update(logins).where(logins.c.name == name).values(rows.login_columns(changed)))
            if changed.passwords != login.passwords:
                connection.execute(sa.delete(passwords).where(passwords.c.login == name))
                self._set_passwords(connection, changed)
        return changed

    def remove_login(self, login: str) -> None:
        """See LoginAdmin."""
        with self._writing() as connection:
            connection.execute(sa.delete(passwords).where(passwords.c.login == login))
            removed = connection.execute(sa.delete(logins).where(logins.c.name == login))
            self._require(removed.rowcount, "login", login)

    def add_domain(self, domain: SenderDomain, keys: tuple[SigningKey, ...]) -> None:
        """See AdminStore."""
        self._require(self.account(domain.account), "account", domain.account)
        with self._writing(f"there is a sender domain {domain.name!r} already, or a key of it") as connection:
            connection.execute(sa.insert(domains).values(rows.domain_columns(domain)))
            for key in keys:
                connection.execute(sa.insert(signing_keys).values(rows.key_columns(key)))

    def change_domain(self, name: str, change: Callable[[SenderDomain], SenderDomain]) -> SenderDomain:
        """See AdminStore."""
        with self._writing() as connection:
            domain = rows.domain(self._only(connection, domains, name, "sender domain"))
            changed = replace(change(domain), name=name, account=domain.account, created=domain.created)
            connection.execute(sa.update(domains).where(domains.c.name == name).values(rows.domain_columns(changed)))
        return changed

    def change_keys(self, domain: str, change: Callable[[tuple[SigningKey, ...]], tuple[SigningKey, ...]]) -> None:
        """See AdminStore."""
        of_domain = signing_keys.c.domain == domain
        with self._writing("two keys have the same selector, or an account is not there") as connection:
            self._lock(connection, domain)
            found = connection.execute(sa.select(signing_keys).where(of_domain).order_by(*_KEY_ORDER))
            keys = change(tuple(map(rows.signing_key, found)))
            connection.execute(sa.delete(signing_keys).where(of_domain))
            for key in keys:
                connection.execute(sa.insert(signing_keys).values({**rows.key_columns(key), "domain": domain}))

    def remove_domain(self, name: str) -> None:
        """See AdminStore."""
        own = sa.and_(signing_keys.c.domain == name, signing_keys.c.rule == Rule.DOMAIN.value)
        with self._writing() as connection:
            self._lock(connection, name)
            connection.execute(sa.delete(signing_keys).where(own))
            removed = connection.execute(sa.delete(domains).where(domains.c.name == name))
            self._require(removed.rowcount, "sender domain", name)

    def change_click_hosts(self, change: Callable[[tuple[HostHealth, ...]], tuple[HostHealth, ...]]) -> tuple[HostHealth, ...]:
        """See AdminStore."""
        with self._writing("a click host has two states") as connection:
            self._lock(connection, "click hosts")
            before = _ordered(map(rows.health, connection.execute(sa.select(click_hosts))))
            after = _ordered(change(before))
            kept = set(before) & set(after)
            for health in before:
                if health not in kept:
                    connection.execute(
                        sa.delete(click_hosts).where(click_hosts.c.host == health.host, click_hosts.c.https == health.https)
                    )
            for health in after:
                if health not in kept:
                    connection.execute(sa.insert(click_hosts).values(rows.health_columns(health)))
        return after

    def _lock(self, connection: sa.Connection, subject: str) -> None:
        """One transaction at a time changes a subject, such as the keys of a domain; there may be no row to lock."""
        if not self._sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(subject))))

    def close(self) -> None:
        """Gives up the calling thread's connection."""
        connection = self._thread.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    # -- connections ---------------------------------------------------------------------------------------------------

    def _rows(self, statement: sa.Select[Any]) -> list[Any]:
        kept = "connection" in self._thread.__dict__
        try:
            connection = self._thread.__dict__.get("connection")
            if connection is None:
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._thread.connection = connection
            return list(connection.execute(statement))
        except (SQLAlchemyError, OSError) as error:
            self.close()
            if kept and isinstance(error, DBAPIError) and error.connection_invalidated:  # the server may have been restarted
                return self._rows(statement)
            raise StoreUnavailable(cause(error)) from error

    @contextmanager
    def _writing(self, taken: str = "") -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                if self._sqlite:  # from the first look on nobody else writes
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        except IntegrityError as error:
            raise Conflict(taken or "it is still in use") from error
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(cause(error)) from error

    def _only(self, connection: sa.Connection, table: sa.Table, name: str, noun: str) -> Any:
        """The row of that name, which nobody else changes until the end of the transaction."""
        found = connection.execute(sa.select(table).where(table.c.name == name).with_for_update()).one_or_none()
        self._require(found is not None, noun, name)
        return found

    @staticmethod
    def _set_passwords(connection: sa.Connection, login: Login) -> None:
        for password in login.passwords:
            connection.execute(sa.insert(passwords).values(rows.password_columns(login.name, password)))

    @staticmethod
    def _require(found: object, noun: str, name: str) -> None:
        if not found:
            raise NotFound(f"there is no {noun} {name!r}")


def _possible(name: str) -> bool:
    """Whether anything can have that name: PostgreSQL keeps no NUL, and refuses to look for it."""
    return "\0" not in name


def _ordered(found: Iterable[HostHealth]) -> tuple[HostHealth, ...]:
    return tuple(sorted(found, key=lambda health: health.place))


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116  # a Path takes longer to make than the look takes
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def _passwords_of(login: str) -> sa.Select[Any]:
    return sa.select(passwords).where(passwords.c.login == login).order_by(passwords.c.number)
