"""What Alembic runs: the migrations in `versions`."""

from policy.stores.migrate import run

run()
