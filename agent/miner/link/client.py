"""The miner's one line to its coordinator.

A WebSocket carries everything while it works; plain HTTP takes over while it does not, and tries to bring it back.
Whoever uses the link does not see which of the two is in use. The link also keeps the session: it registers, again
when the coordinator has forgotten the token, and ends when another agent has taken over this miner's key.
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

from agent.miner.identity import Identity
from agent.miner.link.backoff import Backoff
from agent.miner.link.errors import Excluded, SessionSuperseded, Unreachable
from agent.miner.link.http import HttpLink
from agent.miner.link.registration import EXCLUDED_CODE, Registration, error_code, register
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

CALL_SECONDS: Final = 30.0
"""How long an answer of the coordinator may take."""
_POLL_GRACE_SECONDS: Final = 15.0
"""How much longer than asked a long poll may take before it counts as lost."""
_HANDOVER_SECONDS: Final = 1.0
"""How long a poll that asked for leases may still answer after a WebSocket has taken its place."""
_SHORT_SECONDS: Final = 5.0
"""A WebSocket that ends sooner counts as one that does not work, e.g. behind a proxy that cuts it."""
_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 20.0

_EXCLUDED_SECONDS: Final = 300.0
"""How long a miner that the operator has excluded waits before it asks again."""

_UNAUTHORIZED: Final = 401
_CONFLICT: Final = 409
_SESSION_CODE: Final = "STALE_SESSION"
_GIVEN_UP: Final = 0
"""Stands for the status of a poll that was not answered because it was no longer wanted."""

Connection = Literal["websocket", "poll", "offline"]
Call = Literal["heartbeat", "result", "fail", "release", "events"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkCallbacks:
    """What the link tells its owner, always from the event loop. None of them may block or wait.

    A `lease` takes one of the free slots, unless the owner calls `set_slots` because it does not. `joining` gives the
    body of a registration without key and signature. `excluded` is called when the operator has excluded this miner: all its
    leases are void. `connected` is called whenever the coordinator can be reached
    again, `recheck` when a heartbeat would bring something: the coordinator says so, or a cancellation may have got lost.
    """

    lease: Callable[[dict[str, Any]], None]
    cancelled: Callable[[str, int], None]
    joining: Callable[[], Mapping[str, Any]]
    registered: Callable[[Registration], None]
    excluded: Callable[[], None]
    connected: Callable[[], None]
    recheck: Callable[[], None]


class Link:
    """See the module. `register` first, then `run`; `call` and `upload` work from then on."""

    def __init__(
        self,
        url: str,
        identity: Identity,
        callbacks: LinkCallbacks,
        *,
        transport: Literal["auto", "websocket", "poll"] = "auto",
    ) -> None:
        self._http = HttpLink(url)
        self._identity = identity
        self._callbacks = callbacks
        self._transport = transport
        self._socket: WebSocketLink | None = None
        self._free = 0
        self._batch_capacity: tuple[Mapping[str, Any], ...] = ()
        self._asked = 0
        self._asked_batch_capacity: tuple[Mapping[str, Any], ...] = ()
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

    @property
    def connection(self) -> Connection:
        """How the coordinator is reached at the moment."""
        if self._socket is not None:
            return "websocket"
        return "poll" if self._answered and self._polling.is_set() else "offline"

    def set_slots(self, free: int, batch_capacity: Sequence[Mapping[str, Any]] = ()) -> None:
        """Say for how many more jobs there is room from now on.

        `batch_capacity` are free places in batches that run already: `{"service", "model", "free"}` each.
        """
        self._free, self._batch_capacity = free, tuple(batch_capacity)
        self._slots_changed.set()
        if self._socket is not None:
            self._socket.announce()

    async def register(self) -> Registration:
        """Join the coordinator, trying until it answers. Raises `RegistrationRefused`."""
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
        """Keep the line open until cancelled. Raises `SessionSuperseded` or `RegistrationRefused`."""
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
        """Status and JSON body of the coordinator's answer, over whichever connection works.

        Raises `Unreachable` when there is none within `limit` seconds; the call may have had its effect all the same.
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
        """Store an output file of `size` bytes for the job that `lease` (job id and fence) is of. Raises `Unreachable`, or `OSError` if the file cannot be read."""
        token = self._http.token
        return self._examined(await self._http.upload(path, media_type, size, lease=lease), token)

    async def read(self, path: str, key: str) -> tuple[int, Any]:
        """Status and JSON of a `GET` with an API key, which the session's token is not. Raises `Unreachable`."""
        return await self._http.get(path, key, limit=CALL_SECONDS)

    def open_artifact(self, artifact_id: str) -> AbstractAsyncContextManager[httpx.Response]:
        """An artifact of the coordinator as a stream. Raises `httpx.HTTPError` on the way."""
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
        """Notice what an answer says about the session. An answer to an older token says nothing about this one."""
        status, body = answer
        if status == _UNAUTHORIZED or error_code(body) == EXCLUDED_CODE:
            self._expire(
                token
            )  # registering again says whether the session or the miner is not wanted any more
        elif status == _CONFLICT and error_code(body) == _SESSION_CODE:
            self._supersede(token)
        return answer

    def _expire(self, token: str | None) -> None:
        if token == self._http.token:
            self._http.token = None
            self._registered.clear()
            self._expired.set()
            if self._socket is not None:
                self._socket.end()  # it speaks with the old token

    def _supersede(self, token: str | None) -> None:
        if token == self._http.token:
            self._superseded = SessionSuperseded(
                f"Another agent works with the key of {self._identity.miner_id}, so this one stops. "
                "Give each machine a data directory of its own; copying one copies its identity."
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
            delay = backoff.next()
            self._retry_websocket.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._retry_websocket.wait()

    async def _serve_websocket(self, token: str) -> int | None:
        """Open a WebSocket and serve it. Returns its closing code, None if it could not be opened."""
        try:
            socket = await open_websocket(
                self._http.url,
                token,
                on_lease=self._take,
                on_cancelled=self._callbacks.cancelled,
                on_heartbeat=self._callbacks.recheck,
                slots=lambda: (
                    max(0, self._free - self._asked),
                    () if self._asked_batch_capacity else self._batch_capacity,
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
            self._slots_changed.set()  # ends a poll that only listens
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
            self._take_back()
            if status != _GIVEN_UP:
                await asyncio.sleep(backoff.next())

    async def _poll_once(self) -> tuple[int | None, Any]:
        """One long poll; `_GIVEN_UP` if it is not wanted any more.

        Giving up a poll that asks for leases could lose some, so it is given up only some time after a WebSocket has
        taken its place, when nothing can be on its way any more. A cancellation that was on its way comes with the
        heartbeat that `recheck` asks for.
        """
        self._slots_changed.clear()
        wanted = self._socket is None
        self._asked, self._asked_batch_capacity = (self._free, self._batch_capacity) if wanted else (0, ())
        body = {
            "slots": self._asked,
            "wait": self._poll_seconds,
            "batch_capacity": self._asked_batch_capacity,
        }
        poll = asyncio.create_task(
            self._post("/v1/miners/poll", body, limit=self._poll_seconds + _POLL_GRACE_SECONDS),
            name="link-long-poll",
        )
        try:
            while not poll.done():
                asks = self._asked > 0 or bool(self._asked_batch_capacity)
                if not asks and (self._free > 0 or self._batch_capacity or not self._polling.is_set()):
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
            self._asked -= 1
            self._take(lease)
        for cancelled in answer.get("cancelled", ()):
            self._callbacks.cancelled(cancelled["job_id"], cancelled["fence"])
        if answer.get("heartbeat"):
            self._callbacks.recheck()
        self._take_back()

    def _take(self, lease: dict[str, Any]) -> None:
        # The owner says the exact number when it has looked at the lease; until then it must not be given away twice.
        self._free = max(0, self._free - 1)
        self._callbacks.lease(lease)

    def _take_back(self) -> None:
        """The poll has ended, so the WebSocket may offer the slots that it asked for."""
        self._asked, self._asked_batch_capacity = 0, ()
        if self._socket is not None:
            self._socket.announce()
