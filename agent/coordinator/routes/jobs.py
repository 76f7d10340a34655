"""`/v1/jobs`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, status
from fastapi.responses import StreamingResponse

from agent.coordinator.hub import RESYNC, Message
from agent.coordinator.openapi.declare import FILE_BODY, errors, event_stream
from agent.coordinator.operations import jobs as operations
from agent.coordinator.operations.events import outputs_so_far
from agent.coordinator.operations.submission import JobRequest
from agent.coordinator.routes._answers import JobCancelled, JobCreated, JobPage, JobResults, JobStatus
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey, Limit
from agent.core import fields
from agent.core.errors import (
    Conflict,
    InsufficientBalance,
    InvalidJobType,
    JobAlreadyCompleted,
    JobNotCompleted,
    JobNotFound,
    NotFound,
    OfferNotAvailable,
)
from agent.core.jobs import FINAL, JobState
from agent.core.media_types import clean_media_type

router = APIRouter(prefix="/jobs", tags=["Jobs"])

KEEP_ALIVE_SECONDS = 15.0
_EVENTS_EXAMPLE = (
    'event: job_update\ndata: {"job_id":"job_1234567890","status":"running","progress":75}\n\n'
    'event: job_event\ndata: {"job_id":"job_1234567890","kind":"token","text":"Hello"}\n\n'
)
FINAL_VALUES = frozenset(state.value for state in FINAL)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(InvalidJobType, InsufficientBalance, NotFound, Conflict, OfferNotAvailable),
    summary="Create a job",
)
async def create(
    context: ContextOf, caller: Client, request: JobRequest, key: IdempotencyKey = None
) -> JobCreated:
    """The job waits for a miner at once, or for the files listed under `missing_files` first."""
    return JobCreated(**await operations.submit(context, caller, request, key))


@router.get(
    "", response_model_exclude_none=True, responses=errors(InvalidJobType, Conflict), summary="List jobs"
)
async def list_jobs(
    context: ContextOf,
    caller: Client,
    state: Annotated[JobState | None, Query(alias="status", description="Only jobs in this state")] = None,
    job_type: Annotated[
        str | None, Query(alias="type", description="Only jobs of this service", examples=["ai-inference"])
    ] = None,
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, le=2**31, description="How many to leave out")] = 0,
) -> JobPage:
    """Your jobs, newest first."""
    page = await operations.list_page(
        context, caller, status=state, job_type=job_type, limit=limit, offset=offset
    )
    return JobPage(**page)


@router.get(
    "/{job_id}", response_model_exclude_none=True, responses=errors(JobNotFound), summary="Status of a job"
)
async def get(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobStatus:
    """`progress` is 0 to 100; a failed job carries `error`."""
    return JobStatus(**await operations.get(context, caller, job_id))


@router.delete("/{job_id}", responses=errors(JobNotFound, JobAlreadyCompleted), summary="Cancel a job")
async def cancel(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobCancelled:
    """A running job is ended on its miner."""
    return JobCancelled(**await operations.cancel(context, caller, job_id))


@router.get(
    "/{job_id}/results",
    responses=errors(JobNotFound, JobNotCompleted),
    summary="Results of a completed job",
)
async def results(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobResults:
    """409 `JOB_NOT_COMPLETED` with the state and the cause until there are any."""
    return JobResults(**await operations.results(context, caller, job_id))


@router.put(
    "/{job_id}/files/{name}",
    response_model_exclude_none=True,
    responses=errors(JobNotFound, Conflict),
    openapi_extra=FILE_BODY,
    summary="Upload a file that a job waits for",
)
async def upload_file(
    context: ContextOf,
    caller: Client,
    job_id: fields.JobId,
    name: Annotated[str, Path(description="The file's name", examples=["model.py"])],
    request: Request,
) -> JobStatus:
    """The body is the file. The job is given to a miner once its last file is there."""
    media_type = clean_media_type(request.headers.get("content-type"))
    job = await operations.upload_file(context, caller, job_id, name, media_type, request.stream())
    return JobStatus(**job)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: event_stream("Events until the job ends", _EVENTS_EXAMPLE),
        **errors(JobNotFound),
    },
    summary="Follow a job (server-sent events)",
)
async def events(context: ContextOf, caller: Client, job_id: fields.JobId) -> StreamingResponse:
    """`job_update` on every change of state or progress, `job_event` for segments, tokens, previews and outputs.

    It begins with the outputs so far; one that comes at that moment may be told twice. `resync` where a reader was too
    slow and events were lost. Ends with the job.
    """
    first = await operations.get(context, caller, job_id)
    return StreamingResponse(
        _stream(context, caller, job_id, first),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _stream(
    context: ContextOf, caller: Client, job_id: str, first: dict[str, Any]
) -> AsyncIterator[str]:
    async with context.feed.watch(job_id) as subscription:
        # Read again now that we listen, so that nothing falls between.
        current = await operations.get(context, caller, job_id)
        yield _event("job_update", current or first)
        for output in await outputs_so_far(context, job_id):
            yield _event("job_event", output)
        while current["status"] not in FINAL_VALUES:
            message = await subscription.next(KEEP_ALIVE_SECONDS)
            if message is not None and (told := _told(message, job_id)):
                yield told
            if message is not None and message["type"] == "job_event":
                continue
            # A change, silence, or messages lost to a slow reader: the database knows.
            before, current = current, await operations.get(context, caller, job_id)
            if current["status"] in FINAL_VALUES:
                # The database is ahead of the messages: what was said before the end is told before the end.
                for earlier in subscription.waiting():
                    if told := _told(earlier, job_id):
                        yield told
            yield ": still here\n\n" if current == before else _event("job_update", current)


def _told(message: Message, job_id: str) -> str:
    """What a message tells by itself; nothing if it only says that the job has changed."""
    if message["type"] == "job_event":
        return _event("job_event", message["data"])
    return _event("resync", {"job_id": job_id}) if message is RESYNC else ""


def _event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
