"""Messages, copies, visits, disabled links, and how far each segment is drained."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the first tables."""
    _records()
    op.create_table(
        "disabled_links",
        sa.Column("digest", sa.String(64), primary_key=True),
        *_texts("destination"),
        sa.Column("since", sa.BigInteger, nullable=False),
        *_texts("reason"),
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("drained", sa.BigInteger, nullable=False),
    )


def _records() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        *_texts("login", "account", "envelope", "recipient", "recipient_lower", "queue_id", "message_id"),
        *_texts("properties", "tags", "decisions"),
    )
    op.create_index("ix_messages_time", "messages", ["time"])
    op.create_index("ix_messages_account_time", "messages", ["account", "time"])
    op.create_index("ix_messages_queue_id", "messages", ["queue_id"])
    op.create_index("ix_messages_message_id", "messages", ["message_id"], postgresql_using="hash")
    op.create_index("ix_messages_recipient_lower", "messages", ["recipient_lower"], postgresql_using="hash")
    op.create_table(
        "copies",
        sa.Column("id", sa.String(64), primary_key=True),
        *_texts("message"),
        sa.Column("time", sa.BigInteger, nullable=False),
        *_texts("queue_id", "decisions"),
    )
    for column in ("message", "queue_id", "time"):
        op.create_index(f"ix_copies_{column}", "copies", [column])
    op.create_table(
        "visits",
        sa.Column("id", sa.String(64), primary_key=True),
        *_texts("kind", "message"),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *_texts("url", "destination", "ip", "protocol", "headers"),
        sa.Column("machine", sa.Boolean, nullable=False),
    )
    for column in ("message", "time"):
        op.create_index(f"ix_visits_{column}", "visits", [column])
    op.create_index("ix_visits_destination", "visits", ["destination"], postgresql_using="hash")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]
