"""Environment of Alembic: runs migrations in the connection and transaction of the store."""

from alembic import context

from ethogram.serve.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True,
)  # fmt: skip
context.run_migrations()
