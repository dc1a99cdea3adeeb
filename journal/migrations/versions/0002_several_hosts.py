"""Hosted images, and which keys each host seals links with, for hosts that share the database."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Creates both tables."""
    op.create_table(
        "images",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Pictures are packed as they are; trying again takes time and gains nothing.
        op.execute("ALTER TABLE images ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_table(
        "rings",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("prints", sa.Text, nullable=False),
        sa.Column("noted", sa.BigInteger, nullable=False),
    )
