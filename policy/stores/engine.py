"""How a SQL database is connected to, and what its errors say."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from policy.stores import StoreUnavailable

BUSY_MILLISECONDS = 1500  # how long SQLite waits for a writer; below the 2 s in which a client must have an answer
PASSWORD_FILE = "password_file"  # noqa: S105  # a parameter of our own, in the query of a URL
# The same for the server, about this host: without them it keeps the locks and connections of one without power for hours.
_WATCHED = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Parameters of libpq, where the URL does not say otherwise: a host that went away is no reason to wait for ever.
_POSTGRESQL = {"connect_timeout": "5", "tcp_user_timeout": "10000"}  # seconds, milliseconds


def connect_engine(url: str, *, pooled: bool = False) -> sa.Engine:
    """An engine for a database URL; of SQLite it asks that the file is there, so that a missing one is an error.

    `pooled` keeps connections open between two uses.
    """
    parsed = database_url(url)
    options: dict[str, Any] = {"poolclass": sa.QueuePool, "pool_pre_ping": True} if pooled else {"poolclass": sa.NullPool}
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(database=f"file:{quote(str(parsed.database))}", query={"mode": "rw", "uri": "true"})
        engine = sa.create_engine(parsed, **options)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine
    query = {**_POSTGRESQL, **parsed.query}
    file = query.pop(PASSWORD_FILE, None)
    engine = sa.create_engine(parsed.set(query=query), **options)
    sa.event.listen(engine, "connect", _have_this_host_watched)
    if file is not None:
        sa.event.listen(engine, "do_connect", partial(_add_password, Path(str(file))))
    return engine


def with_password_file(url: str, file: Path | None) -> str:
    """The URL of a database whose password is in a file, read at each new connection. Raises StoreUnavailable."""
    if file is None:
        return url
    return database_url(url).update_query_dict({PASSWORD_FILE: str(file)}).render_as_string(hide_password=False)


def _add_password(file: Path, _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    """Raises OSError, told as any other trouble of the connection."""
    parameters["password"] = file.read_text().rstrip("\n")


def database_url(url: str) -> sa.URL:
    """The parts of a database URL, with our driver of PostgreSQL. Raises StoreUnavailable for what is none."""
    with suppress(ArgumentError, ValueError):
        parsed = sa.make_url(url)
        if parsed.drivername in ("postgresql", "postgresql+psycopg"):
            return parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
            return parsed
    raise StoreUnavailable("the URL of a database is sqlite:///FILE or postgresql://USER@HOST/NAME, not what the settings say")


def database_file(url: str) -> Path | None:
    """The file of an SQLite database. Raises StoreUnavailable like `database_url`."""
    parsed = database_url(url)
    return Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None


def _have_this_host_watched(connection: Any, _record: object) -> None:
    connection.autocommit = True  # no transaction is begun
    connection.execute("SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _WATCHED.items()))
    connection.autocommit = False


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    # A login that was shown once must survive a power cut, and so must a record whose segment is removed next.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def cause(error: Exception) -> str:
    """What went wrong in one line, without the statement and its parameters, which may hold a password hash."""
    return " ".join(f"database: {error.orig if isinstance(error, DBAPIError) else error}".split())
