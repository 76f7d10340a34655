"""Writes the files of results of a batch whose lines have ended: from its parts, and for the lines without an answer from its input."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Final

from agent.coordinator.features.batches import store
from agent.coordinator.features.batches.files import RESULTS
from agent.coordinator.features.batches.lines import lines_of, read_line
from agent.coordinator.features.batches.run import ERROR, OUTPUT, caller_of, result_line
from agent.coordinator.features.batches.states import BatchStatus
from agent.coordinator.features.batches.store import ApiBatch, FileRecord
from agent.coordinator.features.batches.validation import longest_line
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import artifacts, removal
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.coordinator.store.artifacts import find as find_artifact
from agent.core.errors import InsufficientStorage, NotFound, PayloadTooLarge
from aitbc.answers.files import Artifact

MEDIA_TYPE: Final = "application/jsonl"
GIVE_UP_SECONDS: Final = 86_400.0
"""How long the results of a batch wait for free space in their account's quota."""
_REASONS: Final = {
    BatchStatus.EXPIRED: {
        "code": "batch_expired",
        "message": "This request could not be executed within the completion window.",
    },
    BatchStatus.CANCELLED: {
        "code": "batch_cancelled",
        "message": "The batch was cancelled before this request had an answer.",
    },
}


async def finish(context: Context, batch: ApiBatch, file: ArtifactRecord) -> None:
    """Write the files and end the batch. Raises `TakenOver`, and `PayloadTooLarge` or `InsufficientStorage` if they do not fit yet."""
    parts = await context.database.read(store.parts_of, batch.batch_id)
    answered = {number for part in parts for number in part.lines}
    outcome = _outcome(batch)
    try:
        output = errors = None
        if batch.completed:
            chunks = _lines_of_parts(context, [part.artifact_id for part in parts], OUTPUT)
            output = await _save(context, batch, "output", chunks)
        if batch.completed < batch.total:
            chunks = _errors(context, batch, file, [part.artifact_id for part in parts], answered, outcome)
            errors = await _save(context, batch, "errors", chunks)
    except (PayloadTooLarge, InsufficientStorage) as error:
        await context.database.write(_wait_for_space, batch, error.message, context.clock())
        raise
    await context.database.write(_end, context, batch, outcome, output, errors)
    await removal.discard(context)


def _outcome(batch: ApiBatch) -> BatchStatus:
    if batch.moment(BatchStatus.CANCELLING) is not None:
        return BatchStatus.CANCELLED
    return BatchStatus.COMPLETED if batch.completed + batch.failed == batch.total else BatchStatus.EXPIRED


async def _save(context: Context, batch: ApiBatch, kind: str, chunks: AsyncIterator[bytes]) -> Artifact:
    # The same lines are the same artifact: after a crash, this is repeated without effect.
    return await artifacts.save(
        context, caller_of(batch), MEDIA_TYPE, chunks, file_name=f"{batch.batch_id}_{kind}.jsonl"
    )


async def _lines_of_parts(context: Context, artifact_ids: Sequence[str], mark: bytes) -> AsyncIterator[bytes]:
    """Yield the lines with this mark."""
    for artifact_id in artifact_ids:
        record = await context.database.read(find_artifact, artifact_id)
        if record is None:
            raise NotFound(f"A part of the results is missing: {artifact_id}.")
        # The whole of a part was in memory when it was written.
        async for _, line in lines_of(context, record, record.size):
            if line.startswith(mark):
                yield line.removeprefix(mark) + b"\n"


async def _errors(
    context: Context,
    batch: ApiBatch,
    file: ArtifactRecord,
    artifact_ids: Sequence[str],
    answered: set[int],
    outcome: BatchStatus,
) -> AsyncIterator[bytes]:
    async for answer in _lines_of_parts(context, artifact_ids, ERROR):
        yield answer
    if len(answered) == batch.total:
        return
    max_values = context.settings.max_request_values
    async for number, text in lines_of(context, file, longest_line(context.settings)):
        if number not in answered:
            line = read_line(number, text, batch.endpoint, max_values)
            yield result_line(batch, number, line.custom_id, b"null", _REASONS[outcome]) + b"\n"


def _wait_for_space(connection: Connection, batch: ApiBatch, reason: str, now: float) -> None:
    """Store why the files do not fit. After a day, the batch has failed."""
    current = store.own(connection, batch)
    errors = json.dumps([{"code": "storage", "message": reason, "param": None, "line": None}])
    since = current.moment(BatchStatus.FINALIZING)
    if since is not None and now >= since + GIVE_UP_SECONDS:
        store.release(connection, current)
        store.enter(connection, current, BatchStatus.FAILED, now, errors=errors)
    else:
        store.save(connection, current, errors=errors)


def _end(
    connection: Connection,
    context: Context,
    batch: ApiBatch,
    outcome: BatchStatus,
    output: Artifact | None,
    errors: Artifact | None,
) -> None:
    current = store.own(connection, batch)
    now = context.clock()
    file_ids = {
        f"{kind}_file_id": _add_file(connection, context, current, kind, artifact, now)
        for kind, artifact in (("output", output), ("error", errors))
        if artifact is not None
    }
    store.release(connection, current)
    failed = current.total - current.completed
    store.enter(connection, current, outcome, now, failed=failed, errors=None, **file_ids)


def _add_file(
    connection: Connection, context: Context, batch: ApiBatch, kind: str, artifact: Artifact, now: float
) -> str:
    record = FileRecord(
        file_id=context.new_id("file"),
        account_id=batch.account_id,
        artifact_id=artifact.artifact_id,
        name=f"{batch.batch_id}_{kind}.jsonl",
        purpose=RESULTS,
        size=artifact.size,
        created_at=now,
        expires_at=None if batch.output_seconds is None else now + batch.output_seconds,
    )
    store.add_file(connection, record)
    return record.file_id
