"""Follows a job: reads its server-sent events, and goes on where a connection breaks."""

from __future__ import annotations

import time
from urllib.parse import quote

from pydantic import ValidationError

from aitbc import errors
from aitbc._http.flow import (
    FIRST_ERROR,
    Emit,
    Open,
    Receive,
    Request,
    Response,
    Session,
    Sleep,
    Stream,
    checked,
    responded,
    retry_delay,
)
from aitbc.canonical import parse_json
from aitbc.errors import AITBCError, FormatError, TransportError
from aitbc.models import Job, JobEvent

_KEEP_ALIVE = 15.0
"""Seconds after which the coordinator says that it is still there, when there is nothing else to say."""
_LONGEST_EVENT = 2**20
"""Bytes."""
_MEDIA_TYPE = "text/event-stream"
LAST_EVENT = "Last-Event-ID"
"""The header that makes a new connection go on after an event."""


def follow(
    session: Session, /, job_id: str, *, after: int | None = None, timeout: float | None = None
) -> Stream[JobEvent]:
    """Follow a job until it ends: its state first, then every change and everything that its runner tells.

    With `after`, the `seq` of an event, only what came later. Where the connection breaks a new one is made, which goes on after the
    last event. What the runner told (tokens, segments, previews) is kept for a while only, and for a caller that is not too slow; an
    event `resync` says where some of it is lost. States never are.
    `timeout` is in seconds, None follows as long as it takes; the end of that time may be noticed up to 15 seconds late.
    To stop before the job ends, leave the loop (on asyncio best inside `contextlib.aclosing`); the job goes on.

    Raises `TimeoutError` when the time is over, `APIError`, and `TransportError` when no connection can be made again.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    attempt = 0
    last = None if after is None else str(after)
    while True:
        request = _request(job_id, deadline, last)
        answer = responded((yield Open(request)))
        if isinstance(answer, Response) and answer.status < FIRST_ERROR:
            _check_media_type(answer)
            reader = EventReader()
            while isinstance(piece := (yield Receive()), bytes) and piece:
                for name, data, number in reader.feed(piece):
                    attempt = 0
                    last = number or last
                    event = _event(name, data, number)
                    if event is None:
                        continue
                    yield Emit(event)
                    if event.job is not None and event.job.is_final:
                        return
                _check_time(job_id, deadline, 0.0)
            answer = piece if isinstance(piece, AITBCError) else _cut_off(job_id)
        delay = retry_delay(request, answer, attempt)
        if delay is None or attempt >= session.retries:
            _check_time(job_id, deadline, 0.0)
            checked(answer)
            return
        _check_time(job_id, deadline, delay)
        yield Sleep(delay)
        attempt += 1


def _request(job_id: str, deadline: float | None, last: str | None) -> Request:
    return Request(
        "GET",
        f"/v1/jobs/{quote(job_id, safe='')}/events",
        # What is compressed on the way may be held back until there is enough of it.
        headers={
            "Accept": _MEDIA_TYPE,
            "Accept-Encoding": "identity",
            **({} if last is None else {LAST_EVENT: last}),
        },
        patience=_KEEP_ALIVE,
        limit=None if deadline is None else max(0.0, deadline - time.monotonic()),
    )


def _check_time(job_id: str, deadline: float | None, delay: float) -> None:
    if deadline is not None and time.monotonic() + delay >= deadline:
        raise errors.TimeoutError(f"Job {job_id} has not ended in the time that was given.")


def _check_media_type(answer: Response) -> None:
    if not answer.headers.get("content-type", "").startswith(_MEDIA_TYPE):
        raise TransportError("The answer is no stream of events, so not a coordinator's.")


def _cut_off(job_id: str) -> TransportError:
    return TransportError(f"The events of job {job_id} ended before the job did.")


def _event(name: str, data: str, number: str) -> JobEvent | None:
    """The event as the caller sees it; None for one of a newer coordinator."""
    seq = int(number) if number.isascii() and number.isdecimal() else None
    try:
        body = parse_json(data)
        if name == "job_update":
            return JobEvent(name, Job.model_validate(body), seq)
        if name == "resync" and isinstance(body, dict):
            return JobEvent(name, body, seq)
        if name == "job_event" and isinstance(body, dict) and isinstance(body.get("kind"), str):
            return JobEvent(body["kind"], body, seq)
    except (FormatError, ValidationError) as error:
        raise TransportError(f"An event is not a coordinator's: {error}") from error
    return None


class EventReader:
    """Takes server-sent events out of bytes, as section 9.2 of the HTML standard says; comments are left out.

    Lines end with LF or CR LF. The field `retry` is not used.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []
        self._number = ""
        self._size = 0

    def feed(self, piece: bytes) -> list[tuple[str, str, str]]:
        """The events, name, data and id (empty without), that end in this piece. Raises `TransportError` for what is none, or too long."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        found = []
        for line in lines:
            if line := line.removesuffix(b"\r"):
                self._take(line)
                continue
            if self._data:
                found.append((self._name or "message", "\n".join(self._data), self._number))
            self._name, self._data, self._number, self._size = "", [], "", 0
        if self._size + len(self._rest) > _LONGEST_EVENT:
            raise TransportError("The coordinator sent an event that is too long.")
        return found

    def _take(self, line: bytes) -> None:
        self._size += len(line)
        try:
            field, _, value = line.decode("utf-8").partition(":")
        except UnicodeDecodeError as error:
            raise TransportError("The coordinator sent an event that is not UTF-8.") from error
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._number = value
