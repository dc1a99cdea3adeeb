"""The tables of the policy database. A change here comes with a migration in migrations/versions and its test."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    true,
)

from policy.limits import LIMITS


def naming() -> MetaData:
    """Tables whose parts have names, so that a migration can name what it changes, on every database."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


metadata = naming()


def _limits() -> list[Column[int]]:
    return [Column(limit.field, Integer) for limit in LIMITS]


accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("created", Integer, nullable=False),
    *_limits(),
)

logins = Table(
    "logins",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("label", String(255), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created", Integer, nullable=False),
    Column("inlinecss", Boolean, nullable=False),
    Column("trackclicks", Boolean, nullable=False),
    Column("trackopens", Boolean, nullable=False),
    Column("trackbounces", Boolean, nullable=False),
    Column("preventscam", Boolean, nullable=False),
    Column("images", String(16), nullable=False),
    Column("expires", BigInteger),
    # Words with a blank between: they are read and written as one.
    Column("forced", Text, nullable=False, server_default=""),
    Column("networks", Text, nullable=False, server_default=""),
    Column("ports", Text, nullable=False, server_default=""),
    Column("senders", Text, nullable=False, server_default=""),
    Column("dialects", Text, nullable=False, server_default=""),
    *_limits(),
    Index("ix_logins_account", "account"),
)

passwords = Table(
    "passwords",
    metadata,
    Column("login", ForeignKey("logins.name"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", String(255), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("until", BigInteger),
    Column("idle", Integer),
)

domains = Table(
    "domains",
    metadata,
    Column("name", String(253), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("created", Integer, nullable=False),
    Column("clicks", String(253), nullable=False, server_default=""),
    Column("https", Boolean, nullable=False, server_default=true()),
    Column("rotates", Boolean, nullable=False, server_default=false()),
    Column("strict", Boolean, nullable=False, server_default=false()),
    Index("ix_domains_account", "account"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    # Not a reference: the domain of a key that signs by another rule need be no sender domain.
    Column("domain", String(253), primary_key=True),
    Column("selector", String(63), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("public", String(2048), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("rule", String(16), nullable=False),
    Column("condition", Text, nullable=False),
    Column("start", BigInteger),
    Column("end", BigInteger),
    Column("rotates", Boolean, nullable=False),
    Column("active", BigInteger),
    Column("retired", BigInteger),
    Column("seen", BigInteger),
    Index("ix_signing_keys_account", "account"),
)

click_hosts = Table(
    "click_hosts",
    metadata,
    Column("host", String(260), primary_key=True),  # a port may follow the name
    Column("https", Boolean, primary_key=True),
    Column("certificates", Boolean, nullable=False),
    Column("links", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failing", BigInteger),
    Column("changed", BigInteger, nullable=False),
)
