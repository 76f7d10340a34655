"""Listens to all events of a key: reads the coordinator's WebSocket, and resumes after a broken connection."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from typing import Any

from aitbc._http.flow import (
    Answer,
    Connect,
    Deadline,
    Emit,
    Receive,
    Request,
    Response,
    Retries,
    Session,
    Sleep,
    Stream,
    checked,
    json_body,
    responded,
)
from aitbc._http.sealing import require_sealed
from aitbc.answers.jobs import StreamEvent
from aitbc.canonical import parse_json
from aitbc.errors import AITBCError, FormatError, TransportError

_HEARTBEAT = 15.0
"""Seconds after which an idle coordinator sends a heartbeat."""
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
    """Yield every event that this key may see, each once and in order, until the caller stops.

    `types` selects types of events (None: `job_update`, `marketplace_update`, `receipt_created` and `payout_update`; there are also `job_progress`
    and `job_event`), `job_ids` selects jobs, and `after` is the `seq` of the last known event (None: start now). A broken
    connection is replaced and resumes after the last event; an event `resync` marks a gap. `timeout` is in seconds (None: no
    limit) and may take effect up to 15 seconds late. The events of sealed jobs stay sealed; `jobs.events` opens them.

    Raises `TimeoutError` after `timeout`, `APIError` (such as for a revoked key or an invalid filter), `TransportError` if the
    connection cannot be restored, and `VerificationError` for an event in clear with content of a job that this client sealed.
    """
    deadline = Deadline(timeout, f"The stream was ended after its time limit of {timeout or 0:g} seconds.")
    retries = Retries(session)
    cursor = _Cursor({"types": types, "job_ids": job_ids}, after)
    while True:
        request = Request("GET", "/v1/ws", extra_timeout=_HEARTBEAT, limit=deadline.remaining)
        # The subscription says where to resume, so a broken connection loses and repeats nothing.
        answer = responded((yield Connect(request, cursor.subscription())))
        if isinstance(answer, Response) and answer.status == _SWITCHED:
            answer = yield from _receive(session, cursor, deadline, retries)
        delay = retries.delay(request, answer)
        deadline.check(delay or 0.0)
        if delay is None:
            checked(answer)
            return
        yield Sleep(delay)


def _receive(
    session: Session, cursor: _Cursor, deadline: Deadline, retries: Retries
) -> Generator[Receive | Emit[StreamEvent], Answer, Response | AITBCError]:
    """Emit the events of one connection. Returns the coordinator's refusal, or the error that broke the connection."""
    while isinstance(piece := (yield Receive()), bytes):
        last_seq = cursor.after
        received = cursor.advance(piece)
        if isinstance(received, Response):
            return received
        # Only real progress counts: a server that accepts and closes at once must run out of retries.
        if cursor.after != last_seq:
            retries.restart()
        if received is not None:
            # What is in clear here did not come from the miner: of a sealed job, it sends nothing that the coordinator can read.
            if received.type == "job_event" and session.sealing.memory.get(str(received.data.get("job_id"))):
                require_sealed(str(received.data.get("kind")), received.data)
            yield Emit(received)
        deadline.check()
    return piece if isinstance(piece, AITBCError) else TransportError("The coordinator ended the stream.")


class _Cursor:
    """The position in the stream, over all connections. `after` is None until the coordinator has confirmed the first position."""

    def __init__(self, filters: Mapping[str, Collection[str] | None], start: int | None) -> None:
        self.after = start
        self._filters = {name: list(values) for name, values in filters.items() if values is not None}
        self._confirmed = False

    def subscription(self) -> bytes:
        """Return the first message of a new connection."""
        # A position before the coordinator's confirmation is that of the last connection.
        self._confirmed = False
        resume = {} if self.after is None else {"after": self.after}
        return json_body({"type": "subscribe", **self._filters, **resume})

    def advance(self, piece: bytes) -> StreamEvent | Response | None:
        """Move past a message. Returns its event, the refusal if it is one, or None if it only moves the cursor."""
        try:
            message: Any = parse_json(piece)
            kind, seq = message["type"], message.get("seq")
            if kind == "error":
                # The coordinator refuses after the upgrade, where HTTP has no status left.
                return Response(int(message["status"]), {}, piece)
            data = message["data"]
            if kind == "subscribed":
                self._confirmed, self.after = True, int(data["after"])
            # It moves the cursor over events that the filters leave out, so that a resumption need not read them again.
            elif kind == "heartbeat" and self._confirmed:
                self.after = int(data["after"])
            elif seq is not None and self._confirmed:
                self.after = int(seq)
                return StreamEvent(kind, data, self.after)
        except (FormatError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise TransportError(f"A message does not have the form of a coordinator's: {error}") from error
        return None
