"""The tables of the usage database: what changes with every message and every session, apart from what administrators change.

A change here comes with a migration in usage_migrations/versions and its test.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table

from policy.stores.schema import naming

usage = naming()

# What was accepted, by minute. `subject` is "login NAME" or "account NAME"; `minute` counts from 1970, UTC.
counters = Table(
    "counters",
    usage,
    Column("subject", String(80), primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),
    Column("messages", Integer, nullable=False),
    Column("recipients", Integer, nullable=False),
    Index("ix_counters_minute", "minute"),
)

# The sessions that send now. `renewed` (UTC, seconds since 1970) is told again while a session lasts, so that those of a
# node that went away are forgotten.
sessions = Table(
    "sessions",
    usage,
    Column("id", String(64), primary_key=True),
    Column("login", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("owner", String(128), nullable=False),
    Column("renewed", BigInteger, nullable=False),
    Index("ix_sessions_login", "login"),
    Index("ix_sessions_account", "account"),
    Index("ix_sessions_owner", "owner"),
)

# When and how each password was last used. `client` is the name the client gave itself, "" where it has not sent yet.
uses = Table(
    "uses",
    usage,
    Column("login", String(64), primary_key=True),
    Column("password", Integer, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("address", String(45), nullable=False),
    Column("mechanism", String(20), nullable=False),
    Column("client", String(255), nullable=False),
)

# Where each login was used from: an address, or the /64 of IPv6.
places = Table(
    "places",
    usage,
    Column("login", String(64), primary_key=True),
    Column("place", String(64), primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Index("ix_places_last", "last"),
)
