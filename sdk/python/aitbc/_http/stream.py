"""Listens to everything that happens: reads the coordinator's WebSocket, and goes on where a connection breaks."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from aitbc import errors
from aitbc._http.flow import (
    Connect,
    Emit,
    Receive,
    Request,
    Response,
    Session,
    Sleep,
    Stream,
    checked,
    json_body,
    responded,
    retry_delay,
)
from aitbc.canonical import parse_json
from aitbc.errors import AITBCError, FormatError, TransportError
from aitbc.models import StreamEvent

_HEARTBEAT = 15.0
"""Seconds after which the coordinator says that it is still there, when there is nothing else to say."""
_SWITCHED = 101


def listen(
    session: Session,
    /,
    *,
    types: Collection[str] | None = None,
    job_ids: Collection[str] | None = None,
    after: int | None = None,
    timeout: float | None = None,
) -> Stream[StreamEvent]:
    """Everything that this key may hear of, as it happens, each event once and in order, for as long as the caller likes.

    `types` are those to hear (None: `job_update`, `marketplace_update`, `receipt_created`; there are also `job_progress` and
    `job_event`), `job_ids` the only jobs to hear of, `after` the `seq` of the last event that is known (None: from now
    on). Where the connection breaks a new one is made, which goes on after the last event. An event `resync` says where
    something is lost. `timeout` is in seconds, None listens for ever; the end of that time may be noticed up to 15 seconds late.

    Raises `TimeoutError` when the time is over, `APIError` (a revoked key, a filter that makes no sense), and
    `TransportError` when no connection can be made again.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    cursor = _Cursor({"types": types, "job_ids": job_ids}, after)
    attempt = 0
    while True:
        limit = None if deadline is None else max(0.0, deadline - time.monotonic())
        request = Request("GET", "/v1/ws", patience=_HEARTBEAT, limit=limit)
        answer = responded((yield Connect(request, cursor.subscription())))
        if isinstance(answer, Response) and answer.status == _SWITCHED:
            answer = TransportError("The coordinator ended the stream.")
            while isinstance(piece := (yield Receive()), bytes):
                before = cursor.after
                told = cursor.take(piece)
                if isinstance(told, Response):
                    answer = told
                    break
                if cursor.after != before:
                    attempt = 0
                if told is not None:
                    yield Emit(told)
                _check_time(deadline, 0.0)
            else:
                answer = piece if isinstance(piece, AITBCError) else answer
        delay = retry_delay(request, answer, attempt)
        if delay is None or attempt >= session.retries:
            _check_time(deadline, 0.0)
            checked(answer)
            return
        _check_time(deadline, delay)
        yield Sleep(delay)
        attempt += 1


def _check_time(deadline: float | None, delay: float) -> None:
    if deadline is not None and time.monotonic() + delay >= deadline:
        raise errors.TimeoutError("The time that was given for listening is over.")


class _Cursor:
    """How far a caller has heard, over all connections. `after` is None until the coordinator has said where it begins."""

    def __init__(self, wanted: Mapping[str, Collection[str] | None], after: int | None) -> None:
        self.after = after
        self._wanted = {name: list(values) for name, values in wanted.items() if values is not None}
        self._confirmed = False

    def subscription(self) -> bytes:
        """The first message of a new connection."""
        self._confirmed = False
        resume = {} if self.after is None else {"after": self.after}
        return json_body({"type": "subscribe", **self._wanted, **resume})

    def take(self, piece: bytes) -> StreamEvent | Response | None:
        """What a message tells, the answer in its place where the coordinator refuses; None for what only moves the cursor."""
        try:
            message: Any = parse_json(piece)
            kind, seq = message["type"], message.get("seq")
            if kind == "error":
                return Response(int(message["status"]), {}, piece)
            data = message["data"]
            if kind == "subscribed":
                self._confirmed, self.after = True, int(data["after"])
            elif kind == "heartbeat" and self._confirmed:
                self.after = int(data["after"])
            elif seq is not None and self._confirmed:
                self.after = int(seq)
                return StreamEvent(kind, data, self.after)
        except (FormatError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise TransportError(f"A message is not a coordinator's: {error}") from error
        return None
