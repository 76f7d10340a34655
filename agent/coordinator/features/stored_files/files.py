"""The use case: which files an account stores, and what uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.coordinator.features.stored_files import store
from agent.coordinator.features.stored_files.store import FileUse, StoredFile
from agent.coordinator.operations.context import Connection
from agent.coordinator.store import artifacts
from agent.core.values.quantities import format_time
from aitbc.answers.files import ArtifactList, ArtifactUse, StoredArtifact

MOST_USES: Final = 20
"""Jobs that the answer names for each file."""


def page(connection: Connection, account_id: str, prefix: str, limit: int, offset: int) -> ArtifactList:
    """Return a page of an account's files, newest first."""
    files = store.files_of(connection, account_id, prefix, limit, offset)
    uses = store.uses_of(connection, account_id, [file.artifact_id for file in files], MOST_USES)
    return ArtifactList(
        artifacts=[_described(file, uses.get(file.artifact_id, [])) for file in files],
        total=store.count(connection, account_id, prefix),
        stored_bytes=artifacts.bytes_of(connection, account_id),
        limit=limit,
        offset=offset,
    )


def _described(file: StoredFile, uses: Sequence[FileUse]) -> StoredArtifact:
    return StoredArtifact(
        artifact_id=file.artifact_id,
        size=file.size,
        media_type=file.media_type,
        # Outputs have a name only in the jobs that wrote them.
        name=file.file_name or next((use.file_name for use in uses if use.file_name), None),
        created_at=format_time(file.created_at),
        jobs=[
            ArtifactUse(job_id=use.job_id, direction="output" if use.direction == "output" else "input")
            for use in uses
        ],
        job_count=uses[0].jobs if uses else 0,
    )
