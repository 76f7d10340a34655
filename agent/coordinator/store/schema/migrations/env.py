"""Alembic's entry point: runs the migrations on the connection that `schema.upgrade` passes."""

from __future__ import annotations

from alembic import context

from agent.coordinator.store.schema.tables import metadata
from agent.core.errors import ConfigurationError

connection = context.config.attributes["connection"]
SQLITE = connection.dialect.name == "sqlite"
context.configure(connection=connection, target_metadata=metadata, render_as_batch=SQLITE)
context.run_migrations()
# Foreign keys are not enforced during the migrations, because SQLite changes a table by replacing it.
if SQLITE and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()):
    raise ConfigurationError(
        f"The database cannot be upgraded: {len(broken)} rows refer to rows that do not exist, first in {broken[0][0]}. "
        "It was not changed. Restore a backup."
    )
