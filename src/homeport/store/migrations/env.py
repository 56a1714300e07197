"""Run by Alembic for each upgrade: on the connection that `homeport.store.schema` opened, in its transaction. It sets
up no logging and reads no file of settings."""

from alembic import context

from homeport.store.tables import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    # Schema changes are transactional on both databases; Alembic supposes otherwise of SQLite.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
