"""Which blobs the database refers to, and which are to be removed from the store."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, text

from agent.coordinator.store.schema.tables import HAS_BLOB, artifacts, metadata, removed_blobs

_LEGACY = "sha256:"
_MARK = text("INSERT INTO removed_blobs (blob) VALUES (:blob) ON CONFLICT DO NOTHING")


def known(connection: Connection, names: Sequence[str]) -> set[str]:
    """Return those of these blobs that a row refers to, also one of a feature."""
    blobs: set[str] = set()
    for table in metadata.tables.values():
        for column in table.columns:
            if (condition := column.info.get(HAS_BLOB)) is not None:
                query = select(column).where(column.in_(names), text(condition or "TRUE"))
                blobs.update(connection.execute(query).scalars())
    legacy = [name for name in names if name.startswith(_LEGACY)]
    if legacy:
        query = select(artifacts.c.artifact_id).where(
            artifacts.c.artifact_id.in_(legacy), artifacts.c.blob.is_(None)
        )
        blobs.update(connection.execute(query).scalars())
    return blobs


def mark_removed(connection: Connection, names: Sequence[str]) -> None:
    """Record that nothing refers to these blobs. May be repeated."""
    if names:
        connection.execute(_MARK, [{"blob": name} for name in dict.fromkeys(names)])


def removed(connection: Connection, limit: int) -> list[str]:
    """Return blobs that nothing refers to and that may still be in the store."""
    return list(connection.execute(select(removed_blobs.c.blob).limit(limit)).scalars())


def forget(connection: Connection, names: Sequence[str]) -> None:
    """Record that these blobs are removed from the store."""
    connection.execute(delete(removed_blobs).where(removed_blobs.c.blob.in_(names)))
