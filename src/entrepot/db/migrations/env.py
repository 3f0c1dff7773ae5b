"""Run by Alembic: the connection comes from `entrepot.db.migrate`, which holds the lock."""

from alembic import context

from entrepot.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
