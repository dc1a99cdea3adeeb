"""Counters of what was accepted, sessions, last uses of passwords, and where logins were used from."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the first tables."""
    op.create_table(
        "counters",
        sa.Column("subject", sa.String(80), primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True, autoincrement=False, index=True),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("recipients", sa.Integer, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("login", sa.String(64), nullable=False, index=True),
        sa.Column("account", sa.String(64), nullable=False, index=True),
        sa.Column("owner", sa.String(128), nullable=False, index=True),
        sa.Column("renewed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "uses",
        sa.Column("login", sa.String(64), primary_key=True),
        sa.Column("password", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("mechanism", sa.String(20), nullable=False),
        sa.Column("client", sa.String(255), nullable=False),
    )
    op.create_table(
        "places",
        sa.Column("login", sa.String(64), primary_key=True),
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False, index=True),
    )
