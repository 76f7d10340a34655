"""Upgrades a database to the schema that this program expects.

The check is one query. A new database gets all tables at once, without the history of migrations; Alembic is loaded only to upgrade
an older one, which keeps the start fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, text

from agent.coordinator.store.concurrency import SESSION_LOCKS, is_concurrent
from agent.coordinator.store.schema.tables import metadata
from agent.core.errors import ConfigurationError

HEAD: Final = "0040"
"""The newest revision below `migrations/versions`."""
OLDEST: Final = "0034"
"""The oldest schema whose programs also work on this one, so that replicas can be upgraded one after the other, and an upgrade be undone."""
LOCK_SECONDS: Final = 2
"""How long a migration waits for a table before it starts over: as long, others' statements wait behind it."""
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
    """Raise `ConfigurationError` unless the database has this program's schema. For callers that copy all that it knows."""
    _require(connection, newer=False)


def require_usable(connection: Connection) -> None:
    """Raise `ConfigurationError` unless this program works on the database's schema. For callers that must not upgrade it."""
    _require(connection, newer=True)


def _require(connection: Connection, *, newer: bool) -> None:
    current = _current(connection)
    if current == MOVING:
        raise ConfigurationError(_UNFINISHED)
    if current != HEAD and not (newer and current is not None and current > HEAD >= _oldest(connection)):
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
        with connection.begin():
            oldest = _oldest(connection)
        if oldest <= HEAD:
            log.warning("schema_is_newer", schema=current, program=HEAD)
            return
        raise ConfigurationError(
            f"The database has the schema {current} of a newer aitbc-agent, on which this one does not work. Upgrade aitbc-agent. "
            "Or restore the backup from before the upgrade, to go on with this version."
        )
    config.attributes["connection"] = connection
    with connection.begin():
        exclude_others(connection)
        # Another process may just have done it, while this one waited for the lock.
        if (current := _current(connection) or HEAD) != HEAD:
            if is_concurrent(connection):
                _spare_others(connection, current)
            command.upgrade(config, HEAD)
            note_oldest(connection)
            log.info("schema_upgraded", before=current, now=HEAD)


def _spare_others(connection: Connection, current: str) -> None:
    """Do not break programs that use the database. Raises `ConfigurationError` if replicas run that do not work on the new schema."""
    running = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :locks AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    if current < OLDEST and connection.scalars(running, {"locks": SESSION_LOCKS}).one():
        raise ConfigurationError(
            f"Replicas of an older aitbc-agent run on this database. They do not work on the schema {HEAD}, which this version needs. "
            "Stop all of them, then start this one. See docs/how-to/replicas.md."
        )
    # Otherwise a long query of another program, such as `pg_dump`, would keep the migration waiting, and all replicas behind it.
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))


def note_oldest(connection: Connection) -> None:
    """Record which older programs work on the schema, where they find it: they do not know the newer tables."""
    connection.execute(
        text(
            f"COMMENT ON TABLE alembic_version IS '{OLDEST}'"
            if is_concurrent(connection)
            else f"PRAGMA user_version = {int(OLDEST)}"
        )
    )


def _oldest(connection: Connection) -> str:
    """Return the oldest schema whose programs work on the database's newer one."""
    if is_concurrent(connection):
        noted = connection.scalars(text("SELECT obj_description('alembic_version'::regclass)")).one()
    else:
        number = connection.scalars(text("PRAGMA user_version")).one()
        noted = f"{number:04}" if number else None
    return noted or "newer"  # than all numbers
