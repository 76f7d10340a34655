"""The miner's connection to its coordinator.

A WebSocket carries everything while it works. While it does not, plain HTTP takes over, and the link keeps trying to
open a new WebSocket. Callers do not see which of the two is in use. The link also maintains the session: it registers
again when the coordinator has forgotten the token, and ends when another agent has taken over this miner's key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import structlog

from agent.miner.backoff import Backoff, sleep
from agent.miner.identity import Identity
from agent.miner.link.errors import Excluded, SessionSuperseded, Unreachable
from agent.miner.link.http import HttpLink
from agent.miner.link.registration import EXCLUDED_CODE, error_code, register
from agent.miner.link.websocket import (
    CLOSED_EXCLUDED,
    CLOSED_RESTART,
    CLOSED_STALE_SESSION,
    CLOSED_UNKNOWN_TOKEN,
    ConnectionLost,
    WebSocketLink,
    WebSocketRefused,
    open_websocket,
)
from agent.protocol.answers import HeldLease, Registered
from agent.protocol.reading import read_each

CALL_SECONDS: Final = 30.0
"""Time limit for an answer of the coordinator."""
_POLL_GRACE_SECONDS: Final = 15.0
"""How long after its own `wait` a long poll counts as lost."""
_HANDOVER_SECONDS: Final = 1.0
"""How long a poll that requested leases may still answer after a WebSocket has replaced it."""
_SHORT_SECONDS: Final = 5.0
"""A WebSocket that ends sooner counts as broken, e.g. because a proxy closes it."""
_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 20.0
_EXCLUDED_SECONDS: Final = 300.0
"""How long a miner that the operator has excluded waits before it registers again."""

_UNAUTHORIZED: Final = 401
_CONFLICT: Final = 409
_SESSION_CODE: Final = "STALE_SESSION"
_GIVEN_UP: Final = 0
"""Stands for the status of a poll that was abandoned without an answer."""

Connection = Literal["websocket", "poll", "offline"]
Call = Literal["heartbeat", "result", "fail", "release", "events"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkCallbacks:
    """The parts of the daemon that the link calls, always from the event loop. None of them may block.

    A `lease`, not validated yet, takes one of the free slots until the next `set_slots`. `joining` returns the body of a
    registration without key and signature. `excluded` is called when the operator has excluded this miner, which voids all
    its leases; `connected` whenever the coordinator can be reached again; `recheck` when a heartbeat is worthwhile because
    the coordinator requests one or a cancellation may have been lost.
    """

    lease: Callable[[Mapping[str, Any]], None]
    cancelled: Callable[[str, int], None]
    joining: Callable[[], Mapping[str, Any]]
    registered: Callable[[Registered], None]
    excluded: Callable[[], None]
    connected: Callable[[], None]
    recheck: Callable[[], None]


class Link:
    """Call `attach`, then `register`, then `run`; `call` and `upload` work from the registration on.

    `attach` is separate because the parts that the link calls need the link themselves.
    """

    def __init__(
        self, url: str, identity: Identity, *, transport: Literal["auto", "websocket", "poll"] = "auto"
    ) -> None:
        self._http = HttpLink(url)
        self._identity = identity
        self._callbacks: LinkCallbacks
        self._transport = transport
        self._socket: WebSocketLink | None = None
        self._free = 0
        self._batch_capacity: tuple[Mapping[str, Any], ...] = ()
        self._requested = 0
        self._requested_batches: tuple[Mapping[str, Any], ...] = ()
        self._slots_changed = asyncio.Event()
        self._registered = asyncio.Event()
        self._expired = asyncio.Event()
        self._polling = asyncio.Event()
        self._retry_websocket = asyncio.Event()
        self._answered = False
        self._superseded: SessionSuperseded | None = None
        self._ended = asyncio.Event()
        self._poll_seconds = 30.0
        if transport == "poll":
            self._polling.set()

    def attach(self, callbacks: LinkCallbacks) -> None:
        """Set the parts that the link calls."""
        self._callbacks = callbacks

    @property
    def connection(self) -> Connection:
        """The transport in use at the moment."""
        if self._socket is not None:
            return "websocket"
        return "poll" if self._answered and self._polling.is_set() else "offline"

    def set_slots(self, free: int, batch_capacity: Sequence[Mapping[str, Any]] = ()) -> None:
        """Set the free capacity from now on.

        `batch_capacity` are free places in batches that run already: `{"service", "model", "free"}` each.
        """
        self._free, self._batch_capacity = free, tuple(batch_capacity)
        self._slots_changed.set()
        if self._socket is not None:
            self._socket.announce()

    async def register(self) -> Registered:
        """Open a session, trying until the coordinator answers. Raises `RegistrationRefused`."""
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        while True:
            try:
                registration = await register(self._http, self._identity, self._callbacks.joining())
                break
            except Unreachable as error:
                self._answered = False
                delay = backoff.next()
                _log.warning(
                    "coordinator_unreachable", url=self._http.url, error=str(error), retry_in=round(delay, 2)
                )
            except Excluded as error:
                self._answered = False
                delay = _EXCLUDED_SECONDS
                _log.warning("miner_excluded", url=self._http.url, reason=str(error), retry_in=delay)
                self._callbacks.excluded()
            await asyncio.sleep(delay)
        self._http.token = registration.session_token
        self._poll_seconds = registration.settings.poll_seconds
        self._answered = True
        self._expired.clear()
        self._registered.set()
        _log.info(
            "miner_registered",
            miner_id=registration.miner_id,
            session=registration.session,
            url=self._http.url,
        )
        self._callbacks.registered(registration)
        return registration

    async def run(self) -> None:
        """Keep the connection open until cancelled. Raises `SessionSuperseded` or `RegistrationRefused`."""
        tasks = [
            asyncio.create_task(self._keep_session(), name="link-session"),
            asyncio.create_task(self._watch_end(), name="link-end"),
        ]
        if self._transport != "poll":
            tasks.append(asyncio.create_task(self._keep_websocket(), name="link-websocket"))
        if self._transport != "websocket":
            tasks.append(asyncio.create_task(self._keep_polling(), name="link-polling"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close all connections, after `run` has ended."""
        await self._http.close()

    async def call(
        self, name: Call, job_id: str | None, body: Any, *, limit: float = CALL_SECONDS
    ) -> tuple[int, Any]:
        """Return status and JSON body of the coordinator's answer, over the connection that works.

        Raises `Unreachable` when there is none within `limit` seconds; the call may have taken effect nevertheless.
        """
        socket = self._socket
        if socket is not None:
            try:
                return self._examined(await socket.call(name, job_id, body, limit=limit), socket.token)
            except ConnectionLost:
                if self._transport == "websocket":
                    raise Unreachable("The connection to the coordinator was lost.") from None
        elif self._transport == "websocket":
            raise Unreachable("The connection to the coordinator is down.")
        path = "/v1/miners/heartbeat" if job_id is None else f"/v1/miners/jobs/{job_id}/{name}"
        return await self._post(path, body, limit=limit)

    async def upload(
        self, path: Path, media_type: str, size: int, *, lease: tuple[str, int]
    ) -> tuple[int, Any]:
        """Store an output file of `size` bytes for the job of `lease` (job id and fence).

        Raises `Unreachable`, or `OSError` if the file cannot be read.
        """
        token = self._http.token
        return self._examined(await self._http.upload(path, media_type, size, lease=lease), token)

    async def read(self, path: str, key: str) -> tuple[int, Any]:
        """Return status and JSON of a `GET` with an API key instead of the session's token. Raises `Unreachable`."""
        return await self._http.get(path, key, limit=CALL_SECONDS)

    def open_artifact(self, artifact_id: str) -> AbstractAsyncContextManager[httpx.Response]:
        """Return an artifact of the coordinator as a stream, which may raise `httpx.HTTPError`."""
        return self._http.open_artifact(artifact_id)

    async def _post(self, path: str, body: Any, *, limit: float) -> tuple[int, Any]:
        token = self._http.token
        try:
            answer = await self._http.post(path, body, limit=limit)
        except Unreachable:
            self._answered = False
            raise
        self._examined(answer, token)
        if not self._answered:
            self._answered = True
            self._retry_websocket.set()
            self._callbacks.connected()
        return answer

    def _examined(self, answer: tuple[int, Any], token: str | None) -> tuple[int, Any]:
        """React to an answer's verdict on the session. An answer to an older token does not concern this one."""
        status, body = answer
        if status == _UNAUTHORIZED or error_code(body) == EXCLUDED_CODE:
            self._expire(token)  # the next registration shows whether only the session has ended
        elif status == _CONFLICT and error_code(body) == _SESSION_CODE:
            self._supersede(token)
        return answer

    def _expire(self, token: str | None) -> None:
        if token == self._http.token:
            self._http.token = None
            self._registered.clear()
            self._expired.set()
            if self._socket is not None:
                self._socket.end()  # it uses the old token

    def _supersede(self, token: str | None) -> None:
        if token == self._http.token:
            self._superseded = SessionSuperseded(
                f"Another agent uses the key of {self._identity.miner_id}, so this one stops. "
                "Give each machine a data directory of its own; a copied directory has the same identity."
            )
            self._ended.set()

    async def _watch_end(self) -> None:
        await self._ended.wait()
        if self._superseded is not None:
            raise self._superseded

    async def _keep_session(self) -> None:
        while True:
            await self._expired.wait()
            _log.info("session_expired", url=self._http.url)
            await self.register()

    async def _keep_websocket(self) -> None:
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        while True:
            await self._registered.wait()
            token = self._http.token or ""
            opened = time.monotonic()
            code = await self._serve_websocket(token)
            if code in {CLOSED_UNKNOWN_TOKEN, CLOSED_EXCLUDED}:
                self._expire(token)
            elif code == CLOSED_STALE_SESSION:
                self._supersede(token)
            if code is not None and time.monotonic() - opened >= _SHORT_SECONDS:
                backoff.reset()
            elif code != CLOSED_RESTART and self._transport == "auto":
                self._polling.set()
            self._retry_websocket.clear()
            await sleep(backoff.next(), self._retry_websocket)

    async def _serve_websocket(self, token: str) -> int | None:
        """Open a WebSocket and serve it. Returns its closing code, None if it could not be opened."""
        try:
            socket = await open_websocket(
                self._http.url,
                token,
                on_lease=self._pass_on,
                on_cancelled=self._callbacks.cancelled,
                on_heartbeat=self._callbacks.recheck,
                slots=lambda: (
                    max(0, self._free - self._requested),
                    () if self._requested_batches else self._batch_capacity,
                ),
            )
        except WebSocketRefused as error:
            _log.info("websocket_refused", url=self._http.url, error=str(error))
            if error.status == _UNAUTHORIZED:
                self._expire(token)
            return None
        self._socket = socket
        self._answered = True
        if self._transport == "auto":
            self._polling.clear()
            self._slots_changed.set()  # ends a poll that requests no leases
        _log.info("websocket_open", url=self._http.url)
        self._callbacks.connected()
        try:
            code = await socket.serve()
        finally:
            self._socket = None
        _log.info("websocket_closed", url=self._http.url, code=code)
        return code

    async def _keep_polling(self) -> None:
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        while True:
            await self._polling.wait()
            await self._registered.wait()
            try:
                status, body = await self._poll_once()
            except Unreachable as error:
                _log.info("poll_failed", url=self._http.url, error=str(error))
                status, body = None, None
            if status in {200, 204}:
                backoff.reset()
                self._deliver(body or {})
                continue
            self._end_poll()
            if status != _GIVEN_UP:
                await asyncio.sleep(backoff.next())

    async def _poll_once(self) -> tuple[int | None, Any]:
        """Make one long poll. The status is `_GIVEN_UP` if it was abandoned.

        Abandoning a poll that requests leases could lose some, so it is abandoned only some time after a WebSocket has
        replaced it, when no lease can be on its way any more. The heartbeat that `recheck` requests brings a cancellation
        that was on its way.
        """
        self._slots_changed.clear()
        needed = self._socket is None
        self._requested, self._requested_batches = (self._free, self._batch_capacity) if needed else (0, ())
        body = {
            "slots": self._requested,
            "wait": self._poll_seconds,
            "batch_capacity": self._requested_batches,
        }
        poll = asyncio.create_task(
            self._post("/v1/miners/poll", body, limit=self._poll_seconds + _POLL_GRACE_SECONDS),
            name="link-long-poll",
        )
        try:
            while not poll.done():
                requests = self._requested > 0 or bool(self._requested_batches)
                if not requests and (self._free > 0 or self._batch_capacity or not self._polling.is_set()):
                    break
                changed = asyncio.create_task(self._slots_changed.wait(), name="link-slots-changed")
                try:
                    limit = None if self._polling.is_set() else _HANDOVER_SECONDS
                    done, _ = await asyncio.wait(
                        [poll, changed], timeout=limit, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    changed.cancel()
                if not done:
                    break
                self._slots_changed.clear()
            else:
                return poll.result()
            self._callbacks.recheck()
            return _GIVEN_UP, None
        finally:
            poll.cancel()
            with suppress(asyncio.CancelledError, Unreachable):
                await poll

    def _deliver(self, answer: Mapping[str, Any]) -> None:
        for lease in answer.get("leases", ()):
            self._requested -= 1
            self._pass_on(lease)
        for cancelled in read_each(HeldLease, answer.get("cancelled")):
            self._callbacks.cancelled(cancelled.job_id, cancelled.fence)
        if answer.get("heartbeat"):
            self._callbacks.recheck()
        self._end_poll()

    def _pass_on(self, lease: Mapping[str, Any]) -> None:
        # The callback sets the exact number; until then the slot must not be announced twice.
        self._free = max(0, self._free - 1)
        self._callbacks.lease(lease)

    def _end_poll(self) -> None:
        """Let the WebSocket announce the slots that the ended poll had requested."""
        self._requested, self._requested_batches = 0, ()
        if self._socket is not None:
            self._socket.announce()
