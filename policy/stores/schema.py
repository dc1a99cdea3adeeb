"""The tables of the policy database. A change here comes with a migration in migrations/versions and its test."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, true

metadata = MetaData(
    naming_convention={  # so that a migration can name what it changes, on every database
        "ix": "ix_%(column_0_label)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("created", Integer, nullable=False),
)

logins = Table(
    "logins",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("label", String(255), nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created", Integer, nullable=False),
    Column("inlinecss", Boolean, nullable=False),
    Column("trackclicks", Boolean, nullable=False),
    Column("trackopens", Boolean, nullable=False),
    Column("trackbounces", Boolean, nullable=False),
    Column("preventscam", Boolean, nullable=False),
    Column("images", String(16), nullable=False),
    Index("ix_logins_account", "account"),
)

domains = Table(
    "domains",
    metadata,
    Column("name", String(253), primary_key=True),
    Column("account", ForeignKey("accounts.name"), nullable=False),
    Column("created", Integer, nullable=False),
    Column("clicks", String(253), nullable=False, server_default=""),
    Column("https", Boolean, nullable=False, server_default=true()),
    Index("ix_domains_account", "account"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("domain", ForeignKey("domains.name"), primary_key=True),
    Column("selector", String(63), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("public", String(2048), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", Integer, nullable=False),
)
