"""Accounts, logins, sender domains and signing keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the first tables."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "logins",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("account", sa.String(64), sa.ForeignKey("accounts.name"), nullable=False, index=True),
        sa.Column("label", sa.String(255), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("inlinecss", sa.Boolean, nullable=False),
        sa.Column("trackclicks", sa.Boolean, nullable=False),
        sa.Column("trackopens", sa.Boolean, nullable=False),
        sa.Column("trackbounces", sa.Boolean, nullable=False),
        sa.Column("preventscam", sa.Boolean, nullable=False),
        sa.Column("images", sa.String(16), nullable=False),
    )
    op.create_table(
        "domains",
        sa.Column("name", sa.String(253), primary_key=True),
        sa.Column("account", sa.String(64), sa.ForeignKey("accounts.name"), nullable=False, index=True),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "signing_keys",
        sa.Column("domain", sa.String(253), sa.ForeignKey("domains.name"), primary_key=True),
        sa.Column("selector", sa.String(63), primary_key=True),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("public", sa.String(2048), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
