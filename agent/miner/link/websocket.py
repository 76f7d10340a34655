"""One WebSocket to the coordinator, from its handshake to its end.

Leases are passed on in the same step of the event loop in which their frame arrives, without a queue or another task in
between.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from agent import __version__
from agent.miner.link.capacity import Announcement, LinkCapacity
from agent.miner.link.http import is_loopback
from agent.miner.link.refusals import Unreachable
from agent.protocol.answers import CallAnswer, HeldLease
from agent.protocol.messages import MAX_NAME
from agent.protocol.reading import MalformedMessage, read

_OPEN_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 2.0
_PING_SECONDS: Final = 15.0
_MAX_FRAME: Final = 32 * 2**20
"""Bytes of one frame; a lease can contain several megabytes of inline text."""

CLOSED_UNKNOWN_TOKEN: Final = 4401
CLOSED_EXCLUDED: Final = 4403
CLOSED_STALE_SESSION: Final = 4409
CLOSED_RESTART: Final = 1012
_CLOSED_ABNORMALLY: Final = 1006
_CLOSED_BAD_FRAME: Final = 1007
_MAX_REFUSALS: Final = 16
"""Unsent answers to messages that were not understood; older ones are dropped."""

_log = structlog.get_logger(__name__)


class ConnectionLost(Exception):
    """The WebSocket ended before the call was answered. The call may or may not have taken effect."""


class WebSocketRefused(Exception):
    """The handshake failed. `status` is that of the HTTP answer, None without one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


async def open_websocket(url: str, token: str) -> ClientConnection:
    """Connect to the coordinator at the HTTP(S) address `url`. Raises `WebSocketRefused`."""
    address = "ws" + url.removeprefix("http") + "/v1/miners/session"
    try:
        return await connect(
            address,
            additional_headers={"Authorization": f"Bearer {token}"},
            user_agent_header="aitbc-agent",
            compression=None,  # frames are small, and compressing them costs more time than sending them
            # A proxy of the environment cannot reach this machine by that name.
            proxy=None if is_loopback(url) else True,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PING_SECONDS,
            # A lease has its parameters inline, so frames are larger than the library's default.
            max_size=_MAX_FRAME,
        )
    except InvalidStatus as error:
        raise WebSocketRefused(str(error), error.response.status_code) from error
    except (WebSocketException, OSError, TimeoutError, EOFError) as error:
        raise WebSocketRefused(f"{type(error).__name__}: {error}") from error


@dataclass(eq=False)
class WebSocketLink:
    """An open connection. `serve` must run for calls to be answered."""

    connection: ClientConnection
    token: str = field(repr=False)
    on_lease: Callable[[Mapping[str, Any]], None]
    on_cancelled: Callable[[str, int], None]
    on_heartbeat: Callable[[], None]
    capacity: LinkCapacity

    def __post_init__(self) -> None:
        self._received = 0
        self._announced: tuple[Announcement, int] | None = None
        self._refusals: deque[dict[str, Any]] = deque(maxlen=_MAX_REFUSALS)
        self._changed = asyncio.Event()
        # The first announcement opens the flow of leases.
        self._changed.set()
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[tuple[int, Any]]] = {}
        self._ending: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Send the free capacity to the coordinator, in the next step of the event loop."""
        self._changed.set()

    def end(self) -> None:
        """Close the connection, e.g. because its token has expired; `serve` then returns."""
        # Several calls may find out together that the token has expired.
        if self._ending is None:
            self._ending = asyncio.create_task(self.connection.close(), name="link-websocket-close")

    async def serve(self) -> int:
        """Handle messages until the connection ends. Returns the closing code."""
        announcer = asyncio.create_task(self._announce(), name="link-slots")
        try:
            while True:
                self._handle(orjson.loads(await self.connection.recv(decode=False)))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else _CLOSED_ABNORMALLY
        except (orjson.JSONDecodeError, AttributeError) as error:
            _log.warning("link_bad_frame", error=type(error).__name__)
            return _CLOSED_BAD_FRAME
        finally:
            announcer.cancel()
            self._abandon()
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS + 1):
                    await self.connection.close()

    def _handle(self, message: dict[str, Any]) -> None:
        """Handle one message. Others than a newer coordinator's are understood; those are answered, and the connection goes on."""
        push = message.get("push")
        try:
            match push:
                case None:
                    self._resolve(read(CallAnswer, message))
                case "lease":
                    # Counted before it is handled: the coordinator compares this number with what it has sent, to know which leases are on their way.
                    self._received += 1
                    self._changed.set()
                    self.on_lease(message["lease"])
                case "cancelled":
                    cancelled = read(HeldLease, message)
                    self.on_cancelled(cancelled.job_id, cancelled.fence)
                case "heartbeat":
                    self.on_heartbeat()
                case _:
                    self._refuse(push, "unknown")
        except KeyError:
            self._refuse(push, "incomplete")
        except MalformedMessage as error:
            self._refuse(push, str(error))

    def _refuse(self, push: Any, reason: str) -> None:
        """Answer a push that this version does not understand. An answer to a call gets none, or both sides would answer for ever."""
        _log.warning("link_message_not_understood", push=push, reason=reason)
        if push is None:
            return
        body = {"message": str(push)[:MAX_NAME], "agent_version": __version__, "reason": reason[:MAX_NAME]}
        self._refusals.append({"id": next(self._numbers), "call": "not_understood", "body": body})
        self._changed.set()

    def _resolve(self, answer: CallAnswer) -> None:
        future = self._pending.pop(answer.id, None)
        if future is not None and not future.done():
            future.set_result((answer.status, answer.body))

    async def _announce(self) -> None:
        with suppress(ConnectionClosed):  # `serve` sees it too
            while True:
                await self._changed.wait()
                self._changed.clear()
                while self._refusals:
                    await self._send(self._refusals.popleft())
                state = (self.capacity.unrequested(), self._received)
                # Every run that starts and ends sets `changed`, mostly without a difference for the coordinator.
                if state != self._announced:
                    self._announced = state
                    announcement, received = state
                    message = {
                        "call": "slots",
                        "slots": announcement.slots,
                        "received": received,
                        "batch_capacity": announcement.batch_capacity,
                    }
                    await self._send(message)

    async def _send(self, message: dict[str, Any]) -> None:
        await self.connection.send(orjson.dumps(message), text=True)

    async def call(self, name: str, job_id: str | None, body: Any, *, limit: float) -> tuple[int, Any]:
        """Return status and body of the answer. Raises `ConnectionLost`, or `Unreachable` after `limit` seconds."""
        number = next(self._numbers)
        future: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        # Before sending, since the answer may arrive before the call returns.
        self._pending[number] = future
        message = {"id": number, "call": name, "body": body}
        if job_id is not None:
            message["job_id"] = job_id
        try:
            async with asyncio.timeout(limit):
                await self._send(message)
                return await future
        except ConnectionClosed:
            raise ConnectionLost from None
        except TimeoutError:
            raise Unreachable(f"The coordinator did not answer {name} within {limit:g} s.") from None
        finally:
            self._pending.pop(number, None)
            if future.done() and not future.cancelled():
                # Marks it as retrieved, if the connection was lost while sending.
                future.exception()

    def _abandon(self) -> None:
        for future in self._pending.values():
            if not future.done():
                # The callers decide themselves: a call that is not answered may have taken effect.
                future.set_exception(ConnectionLost())
        self._pending.clear()
