"""Rows of the trail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from agent.coordinator.features.trail.tables import admin_trail


@dataclass(frozen=True, slots=True)
class TrailRecord:
    """A call of an administrator that changed something. `at` is in seconds since the epoch."""

    entry_id: str
    at: float
    key_id: str
    key_name: str
    action: str
    method: str
    path: str
    details: Mapping[str, Any]


def add(connection: Connection, record: TrailRecord) -> None:
    """Store an entry."""
    values = {**asdict(record), "details": json.dumps(dict(record.details))}
    connection.execute(insert(admin_trail), values)


def page(connection: Connection, *, limit: int, before_id: str | None) -> list[TrailRecord]:
    """Return entries, newest first, before the id `before_id`."""
    query = select(admin_trail).order_by(admin_trail.c.entry_id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(admin_trail.c.entry_id < before_id)
    return [
        TrailRecord(**{**row, "details": json.loads(row["details"])})
        for row in connection.execute(query).mappings()
    ]
