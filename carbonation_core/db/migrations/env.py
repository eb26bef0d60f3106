"""Alembic's entry: runs revisions on the connection that `migrate` opened."""

from alembic import context

from carbonation_core.db import alter_tables
from carbonation_core.db.models import VERSION_TABLE

config = context.config
context.configure(
    connection=config.attributes["connection"],
    target_metadata=config.attributes.get("target_metadata"),
    include_name=config.attributes.get("include_name"),
    include_object=config.attributes.get("include_object"),
    render_item=config.attributes.get("render_item"),
    process_revision_directives=config.attributes.get("process_revision_directives"),
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite alters a table by copying it
    compare_type=True,
)
alter_tables.use_own(context.get_context())
with context.begin_transaction():
    context.run_migrations()
