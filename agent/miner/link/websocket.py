"""One WebSocket to the coordinator, from its handshake to its end.

Leases are handed on in the same step of the event loop in which their frame arrives: between a push and the runner
stand no queue and no other task.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import orjson
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from agent.miner.link.errors import Unreachable
from agent.miner.link.http import is_loopback

_OPEN_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 2.0
_PING_SECONDS: Final = 15.0
_MAX_FRAME: Final = 32 * 2**20
"""Bytes of one frame; a lease can carry inline text of some megabytes."""

CLOSED_UNKNOWN_TOKEN: Final = 4401
CLOSED_EXCLUDED: Final = 4403
CLOSED_STALE_SESSION: Final = 4409
CLOSED_RESTART: Final = 1012
_CLOSED_ABNORMALLY: Final = 1006
_CLOSED_BAD_FRAME: Final = 1007

FreeCapacity: TypeAlias = tuple[int, Sequence[Mapping[str, Any]]]
"""Free slots, and free batch_capacity in batches that run already."""

_log = structlog.get_logger(__name__)


class ConnectionLost(Exception):
    """The WebSocket ended before the call was answered. What was asked may or may not have happened."""


class WebSocketRefused(Exception):
    """The handshake failed; `status` is the HTTP answer's, None without one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


async def open_websocket(
    url: str,
    token: str,
    *,
    on_lease: Callable[[dict[str, Any]], None],
    on_cancelled: Callable[[str, int], None],
    on_heartbeat: Callable[[], None],
    slots: Callable[[], FreeCapacity],
) -> WebSocketLink:
    """Connect to the coordinator at the HTTP(S) address `url`. Raises `WebSocketRefused`."""
    address = "ws" + url.removeprefix("http") + "/v1/miners/session"
    try:
        connection = await connect(
            address,
            additional_headers={"Authorization": f"Bearer {token}"},
            user_agent_header="aitbc-agent",
            compression=None,  # frames are small, and compressing them costs more time than sending them
            proxy=None if is_loopback(url) else True,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PING_SECONDS,
            max_size=_MAX_FRAME,
        )
    except InvalidStatus as error:
        raise WebSocketRefused(str(error), error.response.status_code) from error
    except (WebSocketException, OSError, TimeoutError, EOFError) as error:
        raise WebSocketRefused(f"{type(error).__name__}: {error}") from error
    return WebSocketLink(connection, token, on_lease, on_cancelled, on_heartbeat, slots)


class WebSocketLink:
    """An open connection. `serve` must run for calls to be answered."""

    def __init__(
        self,
        connection: ClientConnection,
        token: str,
        on_lease: Callable[[dict[str, Any]], None],
        on_cancelled: Callable[[str, int], None],
        on_heartbeat: Callable[[], None],
        slots: Callable[[], FreeCapacity],
    ) -> None:
        self.token = token
        self._connection = connection
        self._on_lease = on_lease
        self._on_cancelled = on_cancelled
        self._on_heartbeat = on_heartbeat
        self._slots = slots
        self._received = 0
        self._announced: tuple[FreeCapacity, int] | None = None
        self._changed = asyncio.Event()
        self._changed.set()  # the first announcement opens the flow of leases
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[tuple[int, Any]]] = {}
        self._ending: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Tell the coordinator how many slots are free now, as soon as the event loop comes to it."""
        self._changed.set()

    def end(self) -> None:
        """Close the connection, e.g. because its token is not valid any more; `serve` then returns."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._connection.close(), name="link-websocket-close")

    async def serve(self) -> int:
        """Take messages until the connection ends. Returns the closing code."""
        announcer = asyncio.create_task(self._announce(), name="link-slots")
        try:
            while True:
                self._take(orjson.loads(await self._connection.recv(decode=False)))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else _CLOSED_ABNORMALLY
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            _log.warning("link_bad_frame", error=type(error).__name__)
            return _CLOSED_BAD_FRAME
        finally:
            announcer.cancel()
            self._abandon()
            with suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS + 1):
                    await self._connection.close()

    def _take(self, message: dict[str, Any]) -> None:
        push = message.get("push")
        if push == "lease":
            self._received += 1
            self._on_lease(message["lease"])
            self._changed.set()
        elif push == "cancelled":
            self._on_cancelled(message["job_id"], message["fence"])
        elif push == "heartbeat":
            self._on_heartbeat()
        elif push is None:
            future = self._pending.pop(message["id"], None)
            if future is not None and not future.done():
                future.set_result((message["status"], message.get("body")))
        else:
            _log.info("link_unknown_push", push=push)  # a newer coordinator's; nothing depends on it

    async def _announce(self) -> None:
        with suppress(ConnectionClosed):  # `serve` sees it too
            while True:
                await self._changed.wait()
                self._changed.clear()
                state = (self._slots(), self._received)
                if state != self._announced:
                    self._announced = state
                    (slots, batch_capacity), received = state
                    message = {
                        "call": "slots",
                        "slots": slots,
                        "received": received,
                        "batch_capacity": batch_capacity,
                    }
                    await self._send(message)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._connection.send(orjson.dumps(message), text=True)

    async def call(self, name: str, job_id: str | None, body: Any, *, limit: float) -> tuple[int, Any]:
        """Status and body of the answer. Raises `ConnectionLost`, or `Unreachable` after `limit` seconds."""
        number = next(self._numbers)
        future: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
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
                future.exception()  # the connection may have been lost in the middle of sending: nobody asks for it then

    def _abandon(self) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ConnectionLost())
        self._pending.clear()
