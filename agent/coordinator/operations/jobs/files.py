"""Files that a client uploads after it has submitted their job, which waits for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Mapping
from typing import Any

from agent.coordinator import hooks
from agent.coordinator.blobs.store import Stored
from agent.coordinator.hooks import View
from agent.coordinator.operations.answers import JobStatus
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import artifacts, quota
from agent.coordinator.operations.jobs import own_jobs, validation
from agent.coordinator.operations.jobs.addresses import ARTIFACT_SCHEME
from agent.coordinator.operations.jobs.names import derived
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import jobs as store
from agent.coordinator.store.artifacts import ArtifactRecord, JobArtifact
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Conflict
from agent.core.jobs import JobState
from agent.core.values.file_names import clean_file_name


async def upload_file(
    context: Context,
    caller: Caller,
    job_id: str,
    name: str,
    media_type: str,
    chunks: AsyncIterable[bytes],
    size: int | None = None,
) -> JobStatus:
    """Store a file that a job waits for, and queue the job once its last file is stored.

    `size` is the announced length of the file, if any. Raises `Conflict` if the job does not wait for this file,
    `PayloadTooLarge` beyond the account's quota, `InsufficientStorage`.
    """
    _awaited_field(context, await own_jobs.find(context, caller, job_id), name)
    budgets = [quota.account_budget(context, caller.account_of("Jobs"))]
    async with quota.receiving(context, budgets, chunks, size) as stored:
        record = await context.database.write(_fill, context, caller, job_id, name, media_type, stored)
    return await _filled(context, record)


async def use_stored_file(
    context: Context, caller: Caller, job_id: str, name: str, artifact_id: str
) -> JobStatus:
    """Use a file that the caller can read for a job that waits for it. Raises `Conflict`, `NotFound`."""
    _awaited_field(context, await own_jobs.find(context, caller, job_id), name)
    file = await artifacts.find(context, caller, artifact_id)
    stored = Stored(file.artifact_id, file.size, file.name_in_store)
    record = await context.database.write(_fill, context, caller, job_id, name, file.media_type, stored)
    return await _filled(context, record)


async def _filled(context: Context, record: JobRecord) -> JobStatus:
    if record.missing_files is None:
        context.dispatcher.job_waiting()
    described = await context.database.peek(hooks.describe_jobs, (record,), View.STATUS)
    return own_jobs.view(
        record, described[record.job_id], await own_jobs.estimates_for(context, record), context.clock()
    )


def _awaited_field(context: Context, record: JobRecord, name: str) -> tuple[str, list[str]]:
    """Return the field for a file of this name, and all fields whose files are missing. Raises `Conflict`."""
    if record.life.state is not JobState.SUBMITTED or record.missing_files is None:
        raise Conflict(f"Job {record.job_id} does not wait for a file.", {"status": record.life.state.value})
    missing: list[str] = json.loads(record.missing_files)
    upload_field = context.catalogue.services[record.service].upload_field
    path = upload_field(json.loads(record.spec)["parameters"], name) if upload_field else missing[0]
    if path not in missing:
        raise Conflict(f"The job does not wait for a file for {path}.", {"missing_files": missing})
    return path, missing


def _fill(
    connection: Connection,
    context: Context,
    caller: Caller,
    job_id: str,
    name: str,
    media_type: str,
    stored: Stored,
) -> JobRecord:
    record = own_jobs.own(store.lock(connection, job_id), caller, job_id)
    path, missing = _awaited_field(context, record, name)
    file_name = clean_file_name(name)
    file = ArtifactRecord(stored.artifact_id, stored.size, media_type, file_name, stored.name)
    artifact_store.add(connection, file, caller.account_of("Jobs"), context.clock())
    linked = JobArtifact(stored.artifact_id, path, media_type, file_name)
    artifact_store.link(connection, job_id, "input", [linked])
    reference = f"{ARTIFACT_SCHEME}{stored.artifact_id}"
    filled_spec = validation.with_file(record.spec, path, reference)
    spec, digest = validation.specify(filled_spec)
    added_bytes = store.quota_bytes(spec) - record.quota_bytes
    if added_bytes:
        artifact_store.count_bytes(connection, record.account_id, added_bytes)
    missing.remove(path)
    store.save_files(
        connection,
        job_id,
        name=record.name if record.name_given else _name(connection, context, record, filled_spec),
        spec=spec,
        spec_digest=digest,
        missing=json.dumps(missing) if missing else None,
    )
    filled = store.find(connection, job_id)
    return own_jobs.own(filled, caller, job_id)


def _name(connection: Connection, context: Context, record: JobRecord, spec: Mapping[str, Any]) -> str:
    """Return the name that the job has now that one more of its files is known."""
    names = {
        file.field: file.file_name
        for file in artifact_store.inputs_of(connection, record.job_id)
        if file.file_name is not None
    }
    return derived(context.catalogue.services[record.service], spec["parameters"], spec["files"], names)
