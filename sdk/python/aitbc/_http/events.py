"""Follows one job: reads its server-sent events, and resumes after a broken connection."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from aitbc._http.flow import (
    FIRST_ERROR,
    Answer,
    Deadline,
    Emit,
    Open,
    Receive,
    Request,
    Response,
    Retries,
    Session,
    Sleep,
    Stream,
    checked,
    responded,
    segment,
)
from aitbc._http.sse import EventReader, ServerSentEvent
from aitbc.answers.fields import MalformedAnswerError
from aitbc.answers.jobs import Job, JobEvent
from aitbc.canonical import parse_json
from aitbc.errors import AITBCError, FormatError, TransportError

_KEEP_ALIVE = 15.0
"""Seconds after which an idle coordinator sends a comment."""
_MEDIA_TYPE = "text/event-stream"
LAST_EVENT = "Last-Event-ID"
"""The header with which a new connection resumes after an event."""


def follow(
    session: Session, /, job_id: str, *, after: int | None = None, timeout: float | None = None
) -> Stream[JobEvent]:
    """Yield the events of a job until it ends: first its current state, then every change and every event of its runner.

    With `after`, the `seq` of an event, only later events are yielded. A broken connection is replaced and resumes after the last
    event. The coordinator stores the runner's events (tokens, segments, previews) for a limited time and drops them for a slow
    reader; an event `resync` marks such a gap. Changes of state are never lost.
    `timeout` is in seconds (None: no limit) and may take effect up to 15 seconds late.
    To stop early, leave the loop (on asyncio preferably inside `contextlib.aclosing`). The job continues.

    Raises `TimeoutError` after `timeout`, `APIError`, and `TransportError` if the connection cannot be restored.
    """
    deadline = Deadline(
        timeout,
        f"Job {job_id} did not end within {timeout or 0:g} seconds. It continues; wait again, or cancel it.",
    )
    retries = Retries(session)
    position = _Position(job_id, None if after is None else str(after))
    while True:
        # Made again each time, because it says after which event the stream resumes and how long it may still take.
        request = _request(position, deadline)
        answer = responded((yield Open(request)))
        if isinstance(answer, Response) and answer.status < FIRST_ERROR:
            # A captive portal or a wrong base URL answers 200 with a page, which would be parsed as a stream without events.
            _check_media_type(answer)
            broken = yield from _receive(position, deadline, retries)
            if broken is None:
                return
            answer = broken
        delay = retries.delay(request, answer)
        deadline.check(delay or 0.0)
        if delay is None:
            checked(answer)
            return
        yield Sleep(delay)


@dataclass(slots=True)
class _Position:
    """How far a job was followed, over all connections. `last` is the id of the last event."""

    job_id: str
    last: str | None


def _receive(
    position: _Position, deadline: Deadline, retries: Retries
) -> Generator[Receive | Emit[JobEvent], Answer, AITBCError | None]:
    """Emit the events of one connection. Returns the error that broke it, or None after the job has ended."""
    reader = EventReader()
    while isinstance(piece := (yield Receive()), bytes) and piece:
        for received in reader.feed(piece):
            # Each event is progress: a stream that breaks every hour must not use up its retries in a day.
            retries.restart()
            # Even for an unknown kind, since the coordinator counts it too.
            position.last = received.event_id or position.last
            event = _event(received)
            if event is None:
                continue
            yield Emit(event)
            # The end of the job ends the stream, whether or not the coordinator closes the connection.
            if event.job is not None and event.job.is_final:
                return None
        # Here and not by a timer: the coordinator's comments arrive at least every 15 seconds, also while nothing happens.
        deadline.check()
    if isinstance(piece, AITBCError):
        return piece
    return TransportError(f"The event stream ended before job {position.job_id} did.")


def _request(position: _Position, deadline: Deadline) -> Request:
    return Request(
        "GET",
        f"/v1/jobs/{segment(position.job_id)}/events",
        # A compressing proxy may hold events back until it has collected enough of them.
        headers={
            "Accept": _MEDIA_TYPE,
            "Accept-Encoding": "identity",
            **({} if position.last is None else {LAST_EVENT: position.last}),
        },
        extra_timeout=_KEEP_ALIVE,
        limit=deadline.remaining,
    )


def _check_media_type(answer: Response) -> None:
    if not answer.headers.get("content-type", "").startswith(_MEDIA_TYPE):
        raise TransportError(
            f"The response is not an event stream ({_MEDIA_TYPE}), so it is not a coordinator's. Check the base URL."
        )


def _event(received: ServerSentEvent) -> JobEvent | None:
    """Return the event for the caller, or None if its kind is unknown (a newer coordinator sent it)."""
    number = received.event_id
    seq = int(number) if number.isascii() and number.isdecimal() else None
    try:
        body = parse_json(received.data)
        if received.name == "job_update":
            return JobEvent(received.name, Job.read(body), seq)
        if received.name == "resync" and isinstance(body, dict):
            return JobEvent(received.name, body, seq)
        if received.name == "job_event" and isinstance(body, dict) and isinstance(body.get("kind"), str):
            return JobEvent(body["kind"], body, seq)
    except (FormatError, MalformedAnswerError) as error:
        raise TransportError(f"An event does not have the form of a coordinator's: {error}") from error
    return None
