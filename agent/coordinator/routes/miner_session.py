"""The miner protocol over a WebSocket: leases and cancellations pushed, calls answered as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, Final
from weakref import WeakValueDictionary

import orjson
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from agent import __version__
from agent.coordinator.connections import connection_of
from agent.coordinator.http.large_json import LARGE, decode_large
from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import completion, events, heartbeats, leases, sessions
from agent.coordinator.port import LeaseMessage, Port
from agent.core.errors import (
    ApiError,
    InternalError,
    MinerExcluded,
    NotFound,
    PayloadTooLarge,
    StaleSession,
    Unauthorized,
    ValidationFailed,
    error_body,
)
from agent.protocol.messages import (
    MAX_NAME,
    MAX_SLOTS,
    Heartbeat,
    NotUnderstood,
    RunEvents,
    RunFailure,
    RunRelease,
    RunResult,
    SlotsMessage,
)
from aitbc.answers.fields import Answer
from runners.validation_errors import field_errors

router = APIRouter(prefix="/v1/miners", tags=["Miner protocol"])

CLOSING_CODES: Final[dict[type[ApiError], int]] = {
    Unauthorized: 4401,
    MinerExcluded: 4403,
    StaleSession: 4409,
}
"""The closing codes of connections, by the error that makes their session invalid."""
BAD_MESSAGE: Final = 1007
TOO_LARGE: Final = 1009
MAX_CALLS: Final = 64
"""Calls of one miner that are processed concurrently; further calls wait in the socket."""
MAX_UNSENT: Final = 10_000
MAX_REASON: Final = 123
"""Limit of the closing reason in bytes, by RFC 6455."""

Body = Mapping[str, Any]
_JobCall = Callable[[Context, Session, str, Any], Awaitable[Answer | None]]

_JOB_CALLS: Final[dict[str, tuple[type[BaseModel], _JobCall]]] = {
    "result": (RunResult, completion.complete),
    "fail": (RunFailure, leases.fail),
    "release": (RunRelease, leases.release),
    "events": (RunEvents, events.pass_on),
}

log = structlog.get_logger()


@router.websocket("/session")
async def session(websocket: WebSocket) -> None:
    """See docs/reference/miner-protocol.md."""
    context: Context = websocket.app.state.context
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    await websocket.accept()
    try:
        miner = await sessions.session_of(context, token if scheme.lower() == "bearer" else None)
    except (Unauthorized, MinerExcluded, StaleSession) as error:
        await _close(websocket, error)
    else:
        if (connection := connection_of(websocket.scope)) is not None:
            connection.grow(context.settings.max_result)
        await _MinerSocket(context, websocket, miner).serve()


class _MinerSocket:
    """One miner's socket: a reader, a writer, and a task per call."""

    def __init__(self, context: Context, websocket: WebSocket, miner: Session) -> None:
        self._context = context
        self._websocket = websocket
        self._miner = miner
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_UNSENT)
        self._unsent: dict[bytes, LeaseMessage] = {}
        self._closed_for: ApiError = StaleSession("A newer session of this miner has begun.")
        self._calls: set[asyncio.Task[None]] = set()
        self._call_slots = asyncio.Semaphore(MAX_CALLS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._port = Port(
            miner.miner_id,
            miner.number,
            deliver=self._deliver,
            cancelled=self._cancelled,
            heartbeat=self._heartbeat,
            close=self._close,
            capabilities=miner.capabilities,
        )

    async def serve(self) -> None:
        """Serve until either side ends the connection."""
        writer = asyncio.create_task(self._write(), name=f"miner-socket-writer-{self._miner.miner_id}")
        self._context.dispatcher.attach(self._port)
        log.info("miner_connected", miner_id=self._miner.miner_id, session=self._miner.number)
        try:
            await self._read()
        except WebSocketDisconnect:
            pass
        finally:
            self._context.dispatcher.detach(self._port)
            writer.cancel()
            # The queue is no longer sent, and calls in progress need space in it to end.
            while not self._outgoing.empty():
                self._outgoing.get_nowait()
            await asyncio.gather(writer, *self._calls, return_exceptions=True)
            await self._revoke_unsent()
            log.info("miner_disconnected", miner_id=self._miner.miner_id, session=self._miner.number)

    async def _read(self) -> None:
        while True:
            received = await self._websocket.receive()
            if received["type"] == "websocket.disconnect":
                return
            try:
                message = await self._decoded(received.get("text") or received.get("bytes") or b"")
            except (ValueError, RecursionError):
                await self._websocket.close(BAD_MESSAGE, "not JSON")
                return
            except PayloadTooLarge as error:
                await self._websocket.close(TOO_LARGE, error.message[:120])
                return
            if not isinstance(message, dict):
                await self._websocket.close(BAD_MESSAGE, "not an object")
                return
            # In the reader and not in a task: what it reports is right only in the order in which it was sent.
            if message.get("call") == "slots":
                self._set_slots(message)
                continue
            # A miner that sends faster than it is answered is no longer read, and its own sending then waits.
            await self._call_slots.acquire()
            task = asyncio.create_task(self._answer(message), name=f"miner-call-{message.get('call')}")
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _decoded(self, message: str | bytes) -> Any:
        if len(message) < LARGE:
            return orjson.loads(message)
        return await decode_large(message, self._context.settings.max_json_values)

    def _set_slots(self, message: Mapping[str, Any]) -> None:
        try:
            slots = SlotsMessage.model_validate(message)
        except ValidationError as error:
            log.warning("slots_invalid", miner_id=self._miner.miner_id, faults=error.error_count())
            return
        free = min(slots.slots, MAX_SLOTS), slots.free_by_batch()
        self._context.dispatcher.set_free(self._port, *free, slots.received)

    async def _answer(self, message: Mapping[str, Any]) -> None:
        try:
            async with self._turn(message.get("job_id")):
                status, body = await _answer(self._context, self._miner, message)
            await self._outgoing.put(orjson.dumps({"id": message.get("id"), "status": status, "body": body}))
        finally:
            self._call_slots.release()

    def _turn(self, job_id: Any) -> AbstractAsyncContextManager[None]:
        """Return a lock that processes the calls about one job in order: its tokens, then its result."""
        if not isinstance(job_id, str):
            return nullcontext()
        return self._turns.setdefault(job_id, asyncio.Lock())

    def _deliver(self, lease: LeaseMessage) -> bool:
        # Unsent leases are found by their frames: what the queue still has when the connection ends was never sent.
        frame = orjson.dumps({"push": "lease", "lease": lease})
        if not self._push(frame):
            return False
        self._unsent[frame] = lease
        return True

    def _cancelled(self, job_id: str, fence: int) -> None:
        self._push(orjson.dumps({"push": "cancelled", "job_id": job_id, "fence": fence}))

    def _heartbeat(self) -> None:
        self._push(orjson.dumps({"push": "heartbeat"}))

    def _push(self, frame: bytes) -> bool:
        try:
            self._outgoing.put_nowait(frame)
        except asyncio.QueueFull:
            return False
        return True

    async def _revoke_unsent(self) -> None:
        """Release the leases that were not sent, on which the miner does not work."""
        for lease in self._unsent.values():
            with suppress(ApiError):
                # The job was cancelled meanwhile, or the coordinator stops: its next start extends the lease, and the miner does not name it.
                await leases.revoke(self._context, self._miner, lease["job_id"], lease["fence"])

    def _close(self, reason: ApiError) -> None:
        self._closed_for = reason
        with suppress(asyncio.QueueFull):
            self._outgoing.put_nowait(None)

    async def _write(self) -> None:
        while (frame := await self._outgoing.get()) is not None:
            # From here on it may have arrived. If it has not, the lease ends with the next heartbeat, which does not name it.
            self._unsent.pop(frame, None)
            await self._websocket.send_text(frame.decode())
            # The transport pauses writing only when the loop runs, so give it a turn: otherwise a slow reader holds nothing back.
            await asyncio.sleep(0)
        await _close(self._websocket, self._closed_for)


async def _close(websocket: WebSocket, error: ApiError) -> None:
    reason = error.message.encode()[:MAX_REASON].decode(errors="ignore")
    await websocket.close(CLOSING_CODES[type(error)], reason)


async def _answer(context: Context, session: Session, message: Body) -> tuple[int, Body]:
    """Carry out one call. Return the status and body of the HTTP answer; errors are answers too."""
    try:
        result = await _perform(context, session, message)
    except ValidationError as error:
        failure: ApiError = ValidationFailed("The message is not valid.", field_errors(error))
    except ApiError as error:
        failure = error
    except Exception:
        # The cause stays here: an error's text may contain what other callers must not see.
        log.exception("miner_call_failed", call=str(message.get("call"))[:40], miner_id=session.miner_id)
        failure = InternalError("The server failed; its log has the details.")
    else:
        return (204, {}) if result is None else (200, result.model_dump(exclude_none=True))
    return failure.status, error_body(failure.code, failure.message, failure.details, "")


async def _perform(context: Context, session: Session, message: Body) -> Answer | None:
    call = message.get("call")
    body = message.get("body", {})
    if call == "heartbeat":
        return await heartbeats.heartbeat(context, session, Heartbeat.model_validate(body))
    if call == "not_understood":
        refused = NotUnderstood.model_validate(body)
        log.warning("push_not_understood", miner_id=session.miner_id, **refused.model_dump())
        return None
    if not isinstance(call, str) or call not in _JOB_CALLS:
        name = repr(call)[:MAX_NAME]
        calls = ", ".join(("slots", "heartbeat", *_JOB_CALLS))
        raise NotFound(f"This coordinator, version {__version__}, has no call {name}. Its calls are {calls}.")
    model, perform = _JOB_CALLS[call]
    return await perform(context, session, str(message.get("job_id", "")), model.model_validate(body))
