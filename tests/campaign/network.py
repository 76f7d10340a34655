"""A failing network: a proxy before a coordinator that drops, stalls, delays, half-closes and repeats connections."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

PIECE: Final = 16 * 1024
REPEATED_BYTES: Final = 2**20
"""Longer requests are not repeated."""
REPEAT_SECONDS: Final = 2.0
DELAY_SECONDS: Final = 0.15
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing a socket resets its connection."""


class Trouble(StrEnum):
    """The effect on the connection on which the planned byte passes."""

    DROP = "drop"
    """The connection is reset."""
    STALL = "stall"
    """Nothing passes any more, and neither end is notified."""
    DELAY = "delay"
    """From then on, all data on all connections is delayed."""
    HALF_CLOSE = "half_close"
    """This direction is closed properly, the other one continues."""
    REPEAT = "repeat"
    """All data sent so far is sent again on a new connection."""
    PARTITION = "partition"
    """All connections are reset, and so are new ones."""


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: bytearray = field(default_factory=bytearray)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            connection: socket.socket | None = writer.get_extra_info("socket")
            if connection is not None:
                with suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Network:
    """A proxy at `url` before the coordinator at `port`. `arm` plans one fault, `heal` ends its effect."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = ""
        self.troubled = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._connections: set[_Connection] = set()
        self._plan: tuple[Trouble, int, bool] | None = None
        self._delayed = self._cut = False
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="network", daemon=True)
        self._thread.start()
        started.wait(60)

    def arm(self, trouble: Trouble, *, after: int, upwards: bool) -> None:
        """Plan a fault after `after` more bytes in one direction, to the coordinator or from it."""
        self.troubled.clear()
        self._call(lambda: setattr(self, "_plan", (trouble, after, upwards)))

    def heal(self) -> None:
        """Restore the network. Stalled connections are reset, as after a real outage."""

        def healed() -> None:
            self._plan, self._delayed, self._cut = None, False, False
            for connection in list(self._connections):
                if connection.stalled.is_set():
                    connection.reset()

        self._call(healed)

    def close(self) -> None:
        """End all connections and the proxy."""

        def ended() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_soon(self._loop.stop)

        self._call(ended)
        self._thread.join(60)

    def _call(self, action: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(action)

    def _run(self, started: threading.Event) -> None:
        async def listen() -> None:
            server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            started.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._cut:
                raise ConnectionError
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:  # the coordinator is down
            writer.transport.abort()
            return
        connection = _Connection(writer, to_server)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pass(connection, reader, to_server, upwards=True),
                self._pass(connection, from_server, writer, upwards=False),
            )
        finally:
            self._connections.discard(connection)
            writer.transport.abort()
            to_server.transport.abort()

    async def _pass(
        self,
        connection: _Connection,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        *,
        upwards: bool,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(PIECE):
                if upwards and len(connection.sent) < REPEATED_BYTES:
                    connection.sent += data
                if self._is_due(len(data), upwards=upwards) and await self._trouble(connection, target):
                    return
                if connection.stalled.is_set():
                    continue
                if self._delayed:
                    await asyncio.sleep(DELAY_SECONDS)
                target.write(data)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()
            return
        connection.reset()

    def _is_due(self, size: int, *, upwards: bool) -> bool:
        if self._plan is None or self._plan[2] is not upwards:
            return False
        trouble, after, _ = self._plan
        self._plan = (trouble, after - size, upwards)
        return after <= size

    async def _trouble(self, connection: _Connection, target: asyncio.StreamWriter) -> bool:
        """Execute the planned fault. Returns whether this direction of the connection has ended."""
        assert self._plan is not None
        trouble, self._plan = self._plan[0], None
        match trouble:
            case Trouble.DROP:
                connection.reset()
            case Trouble.STALL:
                connection.stalled.set()
            case Trouble.DELAY:
                self._delayed = True
            case Trouble.HALF_CLOSE:
                target.write_eof()
            case Trouble.REPEAT:
                asyncio.get_running_loop().create_task(self._repeat(bytes(connection.sent)), name="repeat")
            case Trouble.PARTITION:
                self._cut = True
                for other in list(self._connections):
                    other.reset()
        self.troubled.set()
        return trouble in {Trouble.DROP, Trouble.HALF_CLOSE, Trouble.PARTITION}

    async def _repeat(self, data: bytes) -> None:
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                async with asyncio.timeout(REPEAT_SECONDS):
                    writer.write(data)
                    await writer.drain()
                    while await reader.read(PIECE):
                        pass
            finally:
                writer.transport.abort()
