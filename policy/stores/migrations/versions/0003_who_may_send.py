"""Several passwords of a login, where and as whom it may be used, limits, and rules and rotation of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

LIMITS = ("messages_hour", "recipients_day", "recipients_message", "message_size", "sessions")
WORDS = ("forced", "networks", "ports", "senders", "dialects")


def upgrade() -> None:
    """Every login keeps its password and every key signs what it signed; nothing has a limit."""
    for table in ("accounts", "logins"):
        for name in LIMITS:
            op.add_column(table, sa.Column(name, sa.Integer))
    op.add_column("logins", sa.Column("expires", sa.BigInteger))
    for name in WORDS:
        op.add_column("logins", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.create_table(  # refers to nothing, since SQLite makes the table it is about anew
        "old_passwords",
        *(sa.Column("name", sa.String(32)), sa.Column("hash", sa.String(255)), sa.Column("created", sa.BigInteger)),
    )
    op.execute("INSERT INTO old_passwords SELECT name, password_hash, created FROM logins")
    with op.batch_alter_table("logins") as batch:
        batch.alter_column("name", type_=sa.String(64), existing_type=sa.String(32), existing_nullable=False)
        batch.drop_column("password_hash")
    _passwords()
    for name in ("rotates", "strict"):
        op.add_column("domains", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    _keys()


def _passwords() -> None:
    op.create_table(
        "passwords",
        sa.Column("login", sa.String(64), sa.ForeignKey("logins.name"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(255), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("idle", sa.Integer),
    )
    op.execute("INSERT INTO passwords (login, number, hash, created) SELECT name, 1, hash, created FROM old_passwords")
    op.drop_table("old_passwords")


def _keys() -> None:
    """Another table, since no database drops a reference that has no name."""
    op.rename_table("signing_keys", "old_keys")
    op.create_table(
        "signing_keys",
        sa.Column("domain", sa.String(253), primary_key=True),
        sa.Column("selector", sa.String(63), primary_key=True),
        sa.Column("account", sa.String(64), sa.ForeignKey("accounts.name"), nullable=False, index=True),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("public", sa.String(2048), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("rule", sa.String(16), nullable=False),
        sa.Column("condition", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger),
        sa.Column("end", sa.BigInteger),
        sa.Column("rotates", sa.Boolean, nullable=False),
        sa.Column("active", sa.BigInteger),
        sa.Column("retired", sa.BigInteger),
        sa.Column("seen", sa.BigInteger),
    )
    _keep_keys()
    op.drop_table("old_keys")


def _keep_keys() -> None:
    """The keys there are sign by the rule of their domain, from when they were made; they belong to its account."""
    kept = ("domain", "selector", "algorithm", "public", "sealed", "created")
    added = ("account", "rule", "condition", "rotates", "active")
    new = sa.table("signing_keys", *map(sa.column, (*kept, *added)))
    old, domains = sa.table("old_keys", *map(sa.column, kept)), sa.table("domains", *map(sa.column, ("name", "account")))
    of_added = (domains.c.account, sa.literal("domain", sa.String), sa.literal("", sa.Text), sa.false(), old.c.created)
    found = sa.select(*(old.c[name] for name in kept), *of_added).join(domains, domains.c.name == old.c.domain)
    op.execute(sa.insert(new).from_select((*kept, *added), found))
