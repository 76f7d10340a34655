"""The miner's connection to its coordinator.

A WebSocket carries everything while it works. While it does not, plain HTTP takes over, and the link keeps trying to
open a new WebSocket. Callers do not see which of the two is in use. The link also maintains the session: it registers
again when the coordinator has forgotten the token, and ends when another agent has taken over this miner's key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import structlog

from agent import __version__
from agent.core.versions import version_advice
from agent.miner.backoff import Backoff, sleep
from agent.miner.identity import Identity
from agent.miner.link.capacity import LinkCapacity
from agent.miner.link.http import HttpLink
from agent.miner.link.polling import FIRST_DELAY, LONGEST_DELAY, Polling
from agent.miner.link.refusals import Excluded, Incompatible, SessionSuperseded, Unreachable
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
from agent.miner.tasks import end
from agent.miner.traffic import Traffic
from agent.protocol.answers import HeldLease, Registered
from agent.protocol.reading import read_each

CALL_SECONDS: Final = 30.0
"""Time limit for an answer of the coordinator."""
_SHORT_SECONDS: Final = 5.0
"""A WebSocket that ends sooner counts as broken, e.g. because a proxy closes it."""
_EXCLUDED_SECONDS: Final = 300.0
"""How long a miner that the operator has excluded waits before it registers again."""
_INCOMPATIBLE_SECONDS: Final = 60.0
"""How long a miner whose version does not fit waits before it registers again: the coordinator may be updated at any time."""

_UNAUTHORIZED: Final = 401
_CONFLICT: Final = 409
_SESSION_CODE: Final = "STALE_SESSION"

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


class CoordinatorLink:
    """Call `attach`, then `register`, then `run`; `call` and `upload` work from the registration on.

    `attach` is separate because the parts that the link calls need the link themselves.
    """

    def __init__(
        self,
        url: str,
        identity: Identity,
        *,
        transport: Literal["auto", "websocket", "poll"] = "auto",
        log_key: str | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._http = HttpLink(url, traffic)
        self._identity = identity
        self._log_key = log_key
        self._callbacks: LinkCallbacks
        self._transport = transport
        self._socket: WebSocketLink | None = None
        self._capacity = LinkCapacity()
        self._polling = Polling(
            self._post,
            self._capacity,
            deliver=self._deliver,
            abandoned=self._recheck,
            ended=self._announce,
        )
        self._registered = asyncio.Event()
        self._expired = asyncio.Event()
        self._retry_websocket = asyncio.Event()
        self.refusal: str | None = None
        """Why the coordinator does not register this miner at present, for its owner."""
        self.coordinator_version: str | None = None
        """That of the latest session; None before it, and at a coordinator that does not state it."""
        self._answered = False
        self._last_answer: float | None = None
        self._superseded: SessionSuperseded | None = None
        self._ended = asyncio.Event()
        if transport == "poll":
            self._polling.active.set()

    def attach(self, callbacks: LinkCallbacks) -> None:
        """Set the parts that the link calls."""
        self._callbacks = callbacks

    @property
    def connection(self) -> Connection:
        """The transport in use at the moment."""
        if not self._answered or not self._registered.is_set():
            return "offline"
        if self._socket is not None:
            return "websocket"
        return "poll" if self._polling.active.is_set() else "offline"

    @property
    def version_advice(self) -> str | None:
        """What the owner should do about a version that is older than the coordinator's, None if it is not."""
        coordinator = self.coordinator_version
        return None if coordinator is None else version_advice(__version__, coordinator)

    @property
    def silent_since(self) -> float | None:
        """When the coordinator answered last, in seconds since the epoch, if it has stopped to answer; else None."""
        if self._answered or self._last_answer is None:
            return None
        return time.time() - (time.monotonic() - self._last_answer)

    def set_slots(self, free: int, batch_capacity: Sequence[Mapping[str, Any]] = ()) -> None:
        """Announce the free capacity: slots, and running batches with `{"service", "model", "free"}` each."""
        self._capacity.set(free, batch_capacity)
        self._announce()

    async def register(self) -> Registered:
        """Open a session, trying until the coordinator answers. Raises `RegistrationRefused`."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                registration = await register(
                    self._http, self._identity, self._callbacks.joining(), self._log_key
                )
                break
            except Unreachable as error:
                self._answered = False
                delay = backoff.next()
                _log.warning(
                    "coordinator_unreachable", url=self._http.url, error=str(error), retry_in=round(delay, 2)
                )
            except Excluded as error:
                # The operator may readmit the miner, so it asks again, but rarely.
                delay = self._refused(str(error), _EXCLUDED_SECONDS, "miner_excluded")
                self._callbacks.excluded()
            except Incompatible as error:
                delay = self._refused(str(error), _INCOMPATIBLE_SECONDS, "versions_differ")
            await asyncio.sleep(delay)
        self._http.token = registration.session_token
        # The coordinator decides how long it holds a poll, since proxies before it may have shorter limits.
        self._polling.seconds = registration.settings.poll_seconds
        self.refusal = None
        self.coordinator_version = registration.version
        if (advice := self.version_advice) is not None:
            _log.warning("version_outdated", url=self._http.url, advice=advice)
        self._answered, self._last_answer = True, time.monotonic()
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

    def _refused(self, reason: str, delay: float, event: str) -> float:
        """Note why the miner is not registered. Return the delay until the next attempt."""
        self.refusal = reason
        self._answered, self._last_answer = True, time.monotonic()
        _log.warning(event, url=self._http.url, reason=reason, retry_in=delay)
        return delay

    async def run(self) -> None:
        """Keep the connection open until cancelled. Raises `SessionSuperseded` or `RegistrationRefused`."""
        tasks = [
            asyncio.create_task(self._keep_session(), name="link-session"),
            asyncio.create_task(self._watch_end(), name="link-end"),
        ]
        if self._transport != "poll":
            tasks.append(asyncio.create_task(self._keep_websocket(), name="link-websocket"))
        if self._transport != "websocket":
            tasks.append(asyncio.create_task(self._polling.run(self._registered), name="link-polling"))
        try:
            # None of them ends without an error, so the first that does ends the link.
            ended_tasks, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended_tasks:
                task.result()
        finally:
            await end(tasks)

    def reconnect(self) -> None:
        """Open a new connection now: this one may have been lost while nobody noticed, e.g. while the machine was suspended."""
        if self._socket is not None:
            self._socket.end()
        self._retry_websocket.set()
        self._callbacks.recheck()

    async def close(self) -> None:
        """Close all connections, after `run` has ended."""
        await self._http.close()

    async def call(
        self, name: Call, job_id: str | None, body: Any, *, limit: float = CALL_SECONDS
    ) -> tuple[int, Any]:
        """Return status and JSON body of the coordinator's answer, over the connection that works.

        Raises `Unreachable` when there is none within `limit` seconds; the call may have taken effect nevertheless.
        """
        if self.refusal is not None:
            raise Unreachable(self.refusal)
        socket = self._socket
        if socket is not None:
            began = time.monotonic()
            try:
                answer = await socket.call(name, job_id, body, limit=limit)
                self._note_answer()
                return self._examined(answer, socket.token)
            except Unreachable:
                self._note_silence(began)
                raise
            except ConnectionLost:
                # Otherwise the call is repeated as a request below: all calls are idempotent, so one that was received twice does no harm.
                if self._transport == "websocket":
                    raise Unreachable("The connection to the coordinator was lost.") from None
        elif self._transport == "websocket":
            raise Unreachable("The connection to the coordinator is down.")
        path = "/v1/miners/heartbeat" if job_id is None else f"/v1/miners/jobs/{job_id}/{name}"
        return await self._post(path, body, limit=limit)

    async def upload(
        self, path: Path, media_type: str, size: int, *, artifact_id: str, lease: tuple[str, int]
    ) -> tuple[int, Any]:
        """Store an output file of `size` bytes, whose digest is known, for the job of `lease` (job id and fence).

        Raises `Unreachable`, or `OSError` if the file cannot be read.
        """
        token = self._http.token
        return self._examined(
            await self._http.upload(path, media_type, size, artifact_id=artifact_id, lease=lease), token
        )

    async def read(self, path: str, key: str) -> tuple[int, Any]:
        """Return status and JSON of a `GET` with an API key instead of the session's token. Raises `Unreachable`."""
        return await self._http.get(path, key, limit=CALL_SECONDS)

    def open_artifact(self, artifact_id: str) -> AbstractAsyncContextManager[httpx.Response]:
        """Return an artifact of the coordinator as a stream, which may raise `httpx.HTTPError`."""
        return self._http.open_artifact(artifact_id)

    async def _post(self, path: str, body: Any, *, limit: float) -> tuple[int, Any]:
        token, began = self._http.token, time.monotonic()
        try:
            answer = await self._http.post(path, body, limit=limit)
        except Unreachable:
            self._note_silence(began)
            raise
        self._examined(answer, token)
        self._note_answer()
        return answer

    def _note_answer(self) -> None:
        self._last_answer = time.monotonic()
        if not self._answered:
            self._answered = True
            # The coordinator is back: try the WebSocket now, without waiting for the end of the pause.
            self._retry_websocket.set()
            self._callbacks.connected()

    def _note_silence(self, began: float) -> None:
        """Note that a call was not answered, unless another one that began later or lasted as long was."""
        if self._last_answer is None or self._last_answer < began:
            self._answered = False

    def _examined(self, answer: tuple[int, Any], token: str | None) -> tuple[int, Any]:
        """React to an answer's verdict on the session. An answer to an older token does not concern this one."""
        status, body = answer
        if status == _UNAUTHORIZED or error_code(body) == EXCLUDED_CODE:
            # The next registration shows whether only the session has ended.
            self._expire(token)
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
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            await self._registered.wait()
            # Stored, since a registration may replace it while this connection is open.
            token = self._http.token or ""
            opened = time.monotonic()
            code = await self._serve_websocket(token)
            if code in {CLOSED_UNKNOWN_TOKEN, CLOSED_EXCLUDED}:
                self._expire(token)
            elif code == CLOSED_STALE_SESSION:
                self._supersede(token)
            # A connection that lasted is proof that WebSockets work here. One that ends at once may be a proxy that does not let them through.
            if code is not None and time.monotonic() - opened >= _SHORT_SECONDS:
                backoff.reset()
            elif code != CLOSED_RESTART and self._transport == "auto":
                self._polling.active.set()
            self._retry_websocket.clear()
            await sleep(backoff.next(), self._retry_websocket)

    async def _serve_websocket(self, token: str) -> int | None:
        """Open a WebSocket and serve it. Returns its closing code, None if it could not be opened."""
        began = time.monotonic()
        try:
            socket = WebSocketLink(
                await open_websocket(self._http.url, token),
                token,
                on_lease=self._pass_on,
                on_cancelled=self._callbacks.cancelled,
                on_heartbeat=self._callbacks.recheck,
                capacity=self._capacity,
            )
        except WebSocketRefused as error:
            _log.info("websocket_refused", url=self._http.url, error=str(error))
            if error.status == _UNAUTHORIZED:
                self._expire(token)
            # Without a status nothing answered at all; with one, a proxy did.
            elif error.status is None:
                self._note_silence(began)
            return None
        self._socket = socket
        self._answered, self._last_answer = True, time.monotonic()
        if self._transport == "auto":
            self._polling.active.clear()
            # Ends a poll that requests no leases.
            self._capacity.changed.set()
        _log.info("websocket_open", url=self._http.url)
        self._callbacks.connected()
        try:
            code = await socket.serve()
        finally:
            self._socket = None
        _log.info("websocket_closed", url=self._http.url, code=code)
        return code

    def _deliver(self, answer: Mapping[str, Any]) -> None:
        for lease in answer.get("leases") or ():
            self._capacity.receive()
            self._pass_on(lease)
        for cancelled in read_each(HeldLease, answer.get("cancelled")):
            self._callbacks.cancelled(cancelled.job_id, cancelled.fence)
        if answer.get("heartbeat"):
            self._recheck()

    def _recheck(self) -> None:
        self._callbacks.recheck()

    def _announce(self) -> None:
        if self._socket is not None:
            self._socket.announce()

    def _pass_on(self, lease: Mapping[str, Any]) -> None:
        self._capacity.use_slot()
        self._callbacks.lease(lease)
