"""Upgrades a database to the schema that this program expects.

The check is one query. A new database gets all tables at once, without the history of migrations; Alembic is loaded only to upgrade
an older one, which keeps the start fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, text

from agent.coordinator.store.concurrency import is_concurrent
from agent.coordinator.store.schema.tables import metadata
from agent.core.errors import ConfigurationError

HEAD: Final = "0034"
"""The newest revision below `migrations/versions`."""
OLDEST: Final = "0034"
"""The oldest schema whose programs also work on this one, so that replicas can be upgraded one after the other on PostgreSQL."""
MOVING: Final = "moving"
"""The version of a schema that `aitbc-agent migrate` is filling."""
VERSION: Final = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own table with the revision of the schema."""

_UNFINISHED: Final = "A SQLite database is being moved to this one, and is not complete yet. Run `aitbc-agent migrate` again to finish that."

log = structlog.get_logger()


def prepare(connection: Connection) -> None:
    """Create or upgrade the schema. Raises `ConfigurationError` if a newer program has upgraded the database."""
    current = _current(connection)
    connection.rollback()
    if current is None:
        _create(connection)
    elif current == MOVING:
        raise ConfigurationError(_UNFINISHED)
    elif current != HEAD:
        _upgrade(connection, current)


def require_newest(connection: Connection) -> None:
    """Raise `ConfigurationError` unless the database has this program's schema. For callers that must not upgrade it."""
    current = _current(connection)
    if current == MOVING:
        raise ConfigurationError(_UNFINISHED)
    if current != HEAD:
        raise ConfigurationError(
            f"The database has the schema {current}, but this program needs {HEAD}. Start the agent once to upgrade an older database, "
            "or upgrade aitbc-agent for a newer database."
        )


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def exclude_others(connection: Connection) -> None:
    """Wait until no other process creates or upgrades the schema. SQLite has one writer."""
    if is_concurrent(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('schema', 0))"))


def _create(connection: Connection) -> None:
    with connection.begin():
        exclude_others(connection)
        # Another process may just have done it, while this one waited for the lock.
        if _current(connection) is None:
            metadata.create_all(connection)
            VERSION.create(connection, checkfirst=True)
            connection.execute(insert(VERSION).values(version_num=HEAD))
            note_oldest(connection)
            log.info("schema_created", now=HEAD)


def _upgrade(connection: Connection, current: str) -> None:
    # Loaded only here: most starts have nothing to upgrade.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    revisions = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current not in revisions:
        if _oldest(connection) <= HEAD:
            log.warning("schema_is_newer", schema=current, program=HEAD)
            return
        raise ConfigurationError(
            f"The database has the schema {current} of a newer aitbc-agent. Upgrade aitbc-agent."
        )
    config.attributes["connection"] = connection
    with connection.begin():
        exclude_others(connection)
        # Another process may just have done it, while this one waited for the lock.
        if _current(connection) != HEAD:
            command.upgrade(config, HEAD)
            note_oldest(connection)
            log.info("schema_upgraded", before=current, now=HEAD)


def note_oldest(connection: Connection) -> None:
    """Record which older programs work on the schema, where they find it: they do not know the newer tables."""
    if is_concurrent(connection):
        connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{OLDEST}'"))


def _oldest(connection: Connection) -> str:
    """Return the oldest schema whose programs work on the database's newer one."""
    if not is_concurrent(connection):
        return "newer"  # than all numbers
    with connection.begin():
        noted = connection.execute(text("SELECT obj_description('alembic_version'::regclass)"))
        return str(noted.scalar_one() or "newer")
