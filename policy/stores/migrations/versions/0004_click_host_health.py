"""What was found at each click host."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the table, empty: nobody has looked yet."""
    op.create_table(
        "click_hosts",
        sa.Column("host", sa.String(260), primary_key=True),
        sa.Column("https", sa.Boolean, primary_key=True),
        sa.Column("certificates", sa.Boolean, nullable=False),
        sa.Column("links", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failing", sa.BigInteger),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
