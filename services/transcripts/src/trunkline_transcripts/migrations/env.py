"""Called by Alembic; `trunkline migrate` hands over its connection and its printer."""

from alembic import context

from trunkline_transcripts.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    on_version_apply=context.config.attributes["on_version_apply"],
    target_metadata=metadata,
    # A migration that fails leaves the ones before it in place.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
