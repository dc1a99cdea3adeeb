"""The tables of the journal. A change here comes with a migration in migrations/versions and its test.

Nothing refers to another table by a foreign key: a visit may come first, and its message may be gone. Texts that a client or
a visitor wrote can be longer than a page of an index; PostgreSQL gets hash indexes for them, which keep no copy.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


messages = Table(
    "messages",
    metadata,
    Column("id", String(64), primary_key=True),
    _number("time"),
    _text("login"),
    _text("account"),
    _text("envelope"),
    _text("recipient"),
    _text("recipient_lower"),  # the databases do not agree on the lower case of letters beyond ASCII
    _text("queue_id"),
    _text("message_id"),
    _text("properties"),  # this and the next two as JSON
    _text("tags"),
    _text("decisions"),
    Index("ix_messages_time", "time"),
    Index("ix_messages_account_time", "account", "time"),
    Index("ix_messages_queue_id", "queue_id"),
    Index("ix_messages_message_id", "message_id", postgresql_using="hash"),
    Index("ix_messages_recipient_lower", "recipient_lower", postgresql_using="hash"),
)

copies = Table(
    "copies",
    metadata,
    Column("id", String(64), primary_key=True),
    _text("message"),
    _number("time"),
    _text("queue_id"),
    _text("decisions"),
    Index("ix_copies_message", "message"),
    Index("ix_copies_queue_id", "queue_id"),
    Index("ix_copies_time", "time"),
)

visits = Table(
    "visits",
    metadata,
    Column("id", String(64), primary_key=True),
    _text("kind"),
    _text("message"),
    _number("time"),
    _number("number"),
    _text("url"),
    _text("destination"),
    _text("ip"),
    _text("protocol"),
    _text("headers"),
    Column("machine", Boolean, nullable=False),
    Index("ix_visits_message", "message"),
    Index("ix_visits_time", "time"),
    Index("ix_visits_destination", "destination", postgresql_using="hash"),
)

disabled_links = Table(
    "disabled_links",
    metadata,
    Column("digest", String(64), primary_key=True),  # of the destination, SHA-256 in hex
    _text("destination"),
    _number("since"),
    _text("reason"),
)

# How far each segment of a spool is in the database. It changes in the transaction that brings the records, so that none is
# brought a second time after it was deleted.
segments = Table(
    "segments",
    metadata,
    Column("id", String(64), primary_key=True),
    _number("drained"),  # octets
)

# Hosted images that hosts with one database share, in pieces; each host has its own as files besides (journal.images).
images = Table(
    "images",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
    _number("created"),
)

# Which keys the hosts seal and read identifiers with, by fingerprints, so that one with another ring is noticed.
rings = Table(
    "rings",
    metadata,
    Column("host", String(255), primary_key=True),
    _text("prints"),  # as JSON
    _number("noted"),
)
