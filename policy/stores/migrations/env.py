"""Runs the migrations on the connection that `policy.stores.migrate` hands over."""

import sqlalchemy as sa
from alembic import context

connection = context.config.attributes["connection"]
if connection.dialect.name == "sqlite":
    # The driver begins a transaction at the first INSERT only; a schema change must be all or nothing as well.
    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(connection=connection, transactional_ddl=False)
    try:
        context.run_migrations()
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
else:
    context.configure(connection=connection, target_metadata=sa.MetaData())
    with context.begin_transaction():
        context.run_migrations()
