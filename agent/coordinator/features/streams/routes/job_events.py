"""`/v1/jobs/{job_id}/events`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import format_sse_event

from agent.coordinator.features.streams.following import Update, follow
from agent.coordinator.features.streams.streams import MAX_SEQ
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.http.server_sent_events import KEEP_ALIVE, EventStream, event
from agent.coordinator.routes._callers import Client, ContextOf, MaybeCredential
from agent.coordinator.routes._declare import errors, event_stream
from agent.core.errors import ApiError, JobNotFound, invalid_request
from aitbc.answers import fields

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/jobs", tags=["Jobs"])

KEEP_ALIVE_SECONDS = 15.0
_EVENTS_EXAMPLE = (
    'event: job_update\ndata: {"job_id":"job_1234567890","status":"running","progress":75}\n\n'
    'event: job_event\ndata: {"job_id":"job_1234567890","kind":"token","text":"Hello"}\n\n'
)

log = structlog.get_logger()


@router.get(
    "/{job_id}/events",
    operation_id="jobs_events",
    response_class=Response,
    responses={
        200: event_stream("Events until the job ends", _EVENTS_EXAMPLE),
        **errors(JobNotFound),
    },
    summary="Follow a job (server-sent events)",
)
async def events(
    context: ContextOf,
    caller: Client,
    secret: MaybeCredential,
    job_id: fields.JobId,
    after: Annotated[int | None, Query(ge=0, lt=MAX_SEQ, description="Resume after this `id`")] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=40,
            description="Same as `after`, which takes precedence; browsers send it when they reconnect",
        ),
    ] = None,
) -> EventStream:
    """Sends `job_update` on every change of state or progress, and `job_event` for segments, tokens, previews and outputs.

    The stream begins with the state and the outputs so far, or resumes after an `id`. `resync` reports lost events. The stream ends with the job.
    docs/reference/streams.md is the full reference.
    """
    if after is None and last_event_id:
        after = _number(last_event_id)
    updates = follow(context, caller, secret, job_id, after_seq=after, silence=KEEP_ALIVE_SECONDS)
    await anext(updates)  # raises errors before the stream begins, so that they are ordinary error answers
    return EventStream(_formatted(updates))


def _number(last_event_id: str) -> int:
    if not (last_event_id.isascii() and last_event_id.isdecimal()) or int(last_event_id) >= MAX_SEQ:
        raise invalid_request({"Last-Event-ID": "must be an id of this stream"})
    return int(last_event_id)


async def _formatted(updates: AsyncGenerator[Update | None]) -> AsyncIterator[bytes]:
    async with aclosing(updates):
        yield format_sse_event(comment="following")
        try:
            async for update in updates:
                yield KEEP_ALIVE if update is None else event(update.data, update.name, update.seq)
        except ApiError as error:  # the status has been sent; the next request gets the error as its answer
            log.info("stream_ended", code=error.code)
