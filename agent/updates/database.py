"""The coordinator's database over an update: copied before a new version may migrate it, restored if the former one cannot use it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.atomic_file import replace_file, sync_directory
from agent.core.errors import AgentError
from agent.core.values.quantities import gibibytes
from agent.fault_points import reach
from agent.settings import Settings
from agent.updates.directory import delete
from agent.updates.refusals import Refused, UpdateDelayed

if TYPE_CHECKING:  # agents that start need no manifest
    from agent.updates.manifest import Manifest

_log = structlog.get_logger(__name__)

# The coordinator's modules are imported inside functions: a miner without a coordinator never loads them.


def require_way_back(settings: Settings, release: Manifest) -> None:
    """Raise `AgentError` if the former version could not return after this release has migrated the database."""
    from agent.coordinator.store.schema.upgrade import HEAD  # noqa: PLC0415

    if settings.database.on_postgres and release.reads_schema > HEAD:
        raise Refused(
            f"Version {release.version} changes the database on PostgreSQL so that this version could not return to it. Back it up with pg_dump, "
            "and update by the tool that installed the agent."
        )
    path = _path(settings)
    if path is not None and release.schema_revision != HEAD:
        size, free = path.stat().st_size, shutil.disk_usage(settings.data_dir).free
        if free < 2 * size:
            raise UpdateDelayed(
                f"Version {release.version} migrates the database, and a copy of it needs {gibibytes(2 * size)}. Free some space."
            )


def back_up(settings: Settings, target: Path, schema: str | None) -> bool:
    """Copy the database to the new directory `target`, unless the new version has the same `schema`. Return whether there is a copy.

    No process may write the database meanwhile. Raises `AgentError`, `OSError`.
    """
    from agent.coordinator.features.log.sequencer import PUBLISHED  # noqa: PLC0415
    from agent.coordinator.store.schema.upgrade import HEAD  # noqa: PLC0415
    from agent.coordinator.store.sqlite.backup import copy_database  # noqa: PLC0415

    path = _path(settings)
    if path is None or schema == HEAD:
        return False
    partial = target.with_name(f"{target.name}.partial")
    delete(partial)
    delete(target)
    partial.mkdir(parents=True, mode=0o700)
    reach("update.backing_up")
    published = settings.data_dir / "coordinator" / PUBLISHED
    if published.exists():
        replace_file(partial / PUBLISHED, published.read_bytes(), 0o600)
    copy = partial / path.name
    copy.touch(mode=0o600)
    copy_database(path, copy)
    _sync(copy)
    sync_directory(partial)
    partial.replace(target)
    sync_directory(target.parent)
    reach("update.backed_up")
    return True


def restore_if_needed(settings: Settings, backup: Path | None, left: str) -> bool:
    """Restore the copy if this version cannot work on the database as version `left` has left it. Return whether it did.

    The newer database stays beside it, under a name with that version. Can be repeated after a crash. Raises `AgentError`, `OSError`.
    """
    from agent.coordinator.features.log.sequencer import PUBLISHED  # noqa: PLC0415
    from agent.coordinator.store.sqlite.database import sqlite_path  # noqa: PLC0415

    if backup is None or settings.database.on_postgres:
        return False
    path = sqlite_path(settings.database.url, settings.data_dir)
    copy = backup / path.name
    if not copy.is_file() or (path.is_file() and _is_usable(path)):
        return False
    restored = path.with_name(f"{path.name}.restored")
    shutil.copyfile(copy, restored)
    restored.chmod(0o600)
    _sync(restored)
    reach("update.restoring")
    for suffix in ("-wal", "-shm", ""):
        newer = path.with_name(f"{path.name}{suffix}")
        if newer.exists():
            newer.replace(path.with_name(f"{path.name}.{left}{suffix}"))
    if (backup / PUBLISHED).exists():
        replace_file(settings.data_dir / "coordinator" / PUBLISHED, (backup / PUBLISHED).read_bytes(), 0o600)
    restored.replace(path)
    sync_directory(path.parent)
    reach("update.restored")
    _log.warning("database_restored", version=left, newer=str(path.with_name(f"{path.name}.{left}")))
    return True


def _path(settings: Settings) -> Path | None:
    """Return the file of the database, None if there is none."""
    from agent.coordinator.store.sqlite.database import sqlite_path  # noqa: PLC0415

    if settings.database.on_postgres:
        return None
    path = sqlite_path(settings.database.url, settings.data_dir)
    return path if path.is_file() else None


def _is_usable(path: Path) -> bool:
    from agent.coordinator.store.schema.upgrade import require_usable  # noqa: PLC0415
    from agent.coordinator.store.sqlite.database import reading  # noqa: PLC0415

    try:
        with reading(path) as connection:
            require_usable(connection)
    except AgentError:
        return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
