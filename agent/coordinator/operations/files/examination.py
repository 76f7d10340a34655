"""Comparison of the store of files with the database, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from agent.coordinator.blobs.store import BlobStore, Found
from agent.coordinator.operations.context import Connection
from agent.coordinator.store import artifacts, blobs

BATCH = 500

Find: TypeAlias = Callable[[str, str, str], None]
"""Reports a problem of the data: its kind, its position, and a description."""
Examine: TypeAlias = Callable[[Connection, str, Find], tuple[str, int]]
"""Examines the data of a feature. Returns what was examined (a plural noun) and how many. The text is the log's origin."""


async def examine_artifacts(
    connection: Connection, store: BlobStore, find: Find, *, older_than: float
) -> int:
    """Add artifacts without a blob of their size, and blobs without a row that are older than `older_than`, to the problems.

    Younger blobs may be uploads whose rows are still to come; `older_than` is in seconds since the epoch. Return the number of
    artifacts. The listing is in memory, about 200 bytes for each blob.
    """
    listed: dict[str, Found] = {}
    async for batch in store.listed():
        listed.update((blob.name, blob) for blob in batch)
    count = 0
    for artifact_id, size, name in artifacts.stored(connection):
        count += 1
        blob = listed.get(name)
        if blob is None:
            find("artifact", artifact_id, f"its bytes are missing from the store ({name})")
        elif blob.size != size:
            find("artifact", artifact_id, f"the store has {blob.size} bytes of it instead of {size} ({name})")
    old_names = [name for name, blob in listed.items() if blob.modified < older_than]
    for start in range(0, len(old_names), BATCH):
        names = old_names[start : start + BATCH]
        for name in sorted(set(names) - blobs.known(connection, names)):
            find("orphan", name, "no row refers to these bytes; the running coordinator removes them")
    return count
