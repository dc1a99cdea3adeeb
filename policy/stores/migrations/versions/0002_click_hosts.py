"""The click host of each sender domain, and how links to it begin."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LONGEST = 253  # characters of a domain name


def upgrade() -> None:
    """Adds the columns; domains that are there get what a new one gets: clicks. before the name, and https."""
    op.add_column("domains", sa.Column("clicks", sa.String(253), nullable=False, server_default=""))
    op.add_column("domains", sa.Column("https", sa.Boolean, nullable=False, server_default=sa.true()))
    domains = sa.table("domains", sa.column("name", sa.String), sa.column("clicks", sa.String))
    host = sa.literal("clicks.", sa.String) + domains.c.name
    op.execute(sa.update(domains).where(sa.func.length(host) <= LONGEST).values(clicks=host))
