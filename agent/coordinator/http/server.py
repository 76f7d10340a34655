"""The HTTP server: uvicorn with deadlines for slow clients and limits on connections.

uvicorn waits indefinitely for a request's head, for its body, and for a client that does not read its answer. This module adds
deadlines to its protocols, with timers that exist only while a connection waits: a request that arrives in one piece sets none.
"""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from agent.coordinator.connections import Connection, Connections
from agent.core.errors import ApiError, HeadTooLarge, RequestTimeout, ServiceUnavailable, error_body
from agent.core.values.networks import caller_address, lies_in
from agent.settings.coordinator import CoordinatorSettings

CLOSE_SECONDS: Final = 5
"""How long open requests may take to end after the miner has stopped."""
LINGER_SECONDS: Final = 10.0
LINGER_BYTES: Final = 64 * 2**20
"""How long and how many bytes of a body are read and discarded after its answer, since a client that still sends when the connection
closes does not see the answer. Without a key, the size is `max_body_without_key`."""
ANSWER_SECONDS: Final = 2.0
"""How long a last answer may take to be sent before the connection is aborted."""
UNSENT_BYTES: Final = 128 * 1024
"""Limit of unsent bytes that the kernel buffers for a connection, so that a slow reader blocks its sender."""
PING_SECONDS: Final = 30
"""Interval and time limit of pings, which detect dead connections. Heartbeats are more frequent and keep proxies from closing idle ones."""
LARGER_MESSAGE: Final = 4
"""A message of up to this many times the limit of `/ws` is still read, and answered with an error that states the limit."""


class CoordinatorServer(uvicorn.Server):
    """uvicorn without its own signal handlers, since the agent stops its parts in its own order."""

    def __init__(
        self,
        app: ASGIApp,
        settings: CoordinatorSettings,
        connections: Connections,
        close_seconds: int = CLOSE_SECONDS,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("Any", functools.partial(_Http, connections=connections, settings=settings)),
                log_config=None,
                access_log=False,
                proxy_headers=False,  # the application reads them, from the proxies that the settings name
                server_header=False,
                timeout_keep_alive=settings.connections.idle_seconds,
                ws_max_size=settings.streams.max_message * LARGER_MESSAGE,
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PING_SECONDS,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=close_seconds,
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the agent."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections buffer few unsent bytes. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES
    )  # accepted sockets inherit it
    return listener


class _SlowReader:
    """Aborts a connection whose client has read nothing of the pending data for a while."""

    def __init__(
        self, transport: asyncio.Transport, seconds: float, connections: Connections, address: str
    ) -> None:
        self._transport = transport
        self._seconds = seconds
        self._connections = connections
        self._address = address
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0

    def wait(self) -> None:
        """Start the timer, because the write buffer is full."""
        self.stop()
        self._waiting = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def stop(self) -> None:
        """Stop the timer, because the client has read the data or the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        # It reads, if slowly: a client with a thin line must not lose a large file.
        if self._transport.get_write_buffer_size() < self._waiting:
            self.wait()
            return
        self._connections.closed("send", asyncio.get_running_loop().time(), self._address)
        self._transport.abort()


class _Joined:
    """A transport for one answer, which sends its head together with its body if that follows immediately.

    Each write is a packet and a system call, and wakes the client. The head of a stream, whose body begins later, is sent when the
    event loop runs next.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = b""

    def write(self, data: bytes) -> None:
        """Send data; the first is the head."""
        if self._head is None:
            self._transport.write(data)
        elif self._head:
            self._transport.write(self._head + data)
            self._head = None
        else:
            self._head = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Send the rest and close the connection."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = None


class _Http(HttpToolsProtocol):
    """A connection that speaks HTTP, until it becomes a WebSocket."""

    def __init__(
        self, *args: Any, connections: Connections, settings: CoordinatorSettings, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._settings = settings
        self._limits = settings.connections
        self._connection: Connection = None  # type: ignore[assignment] # set when the connection is made, as uvicorn's own
        self._reader: _SlowReader = None  # type: ignore[assignment] # as above
        # Timers for the head of a request, for its body, and for the rest of a body after its answer.
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_size = 0
        self._body_timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._body_size = 0
        self._body_waited = 0.0
        self._linger_timer: asyncio.TimerHandle | None = None
        self._linger_left = 0
        self._refused = False

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Admit the connection, or answer that there are too many."""
        super().connection_made(transport)
        host = self.client[0] if self.client else None
        proxied = lies_in(host, self._settings.trusted_proxies)
        self._connection = Connection(
            self._connections, caller_address(host), transport.abort, proxied=proxied
        )
        self._reader = _SlowReader(
            transport, self._limits.send_seconds, self._connections, self._connection.address
        )
        if self._connections.enter(self._connection, self.loop.time()):
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_is_late)
        else:
            self._answer_and_close(ServiceUnavailable("Too many connections are open. Try again later."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the list."""
        self._stop_timers()
        self._reader.stop()
        self._connections.leave(self._connection)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a slow reader, with a time limit."""
        super().pause_writing()
        self._reader.wait()

    def resume_writing(self) -> None:
        """Stop waiting for a slow reader."""
        super().resume_writing()
        self._reader.stop()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._stop_timers()
        self._reader.stop()
        self.ws_protocol_class = cast(
            "Any",
            functools.partial(
                _WebSocket, connection=self._connection, connections=self._connections, reader=self._reader
            ),
        )
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if isinstance(protocol, _WebSocket) and not protocol.handshake_initiated:
            # The WebSocket's parser has refused the head, and nobody would ever answer.
            self.transport.abort()

    # Requests

    def data_received(self, data: bytes) -> None:
        """Parse the data, and set a deadline for the rest of the request."""
        if self._refused:
            return
        super().data_received(data)
        if self.transport.get_protocol() is not self:  # it has become a WebSocket
            return
        if self._in_body:
            self._body_arrives(len(data))
        elif self._in_head:
            self._head_size += len(data)
            if self._head_size > self._limits.max_head:
                self._give_up(
                    "head_size",
                    HeadTooLarge(f"A request's head may have at most {self._limits.max_head} bytes."),
                )
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_is_late)
        elif self._head_timer is None and not self._answering:
            # Data that does not begin a request, such as empty lines.
            self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_is_late)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = True
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a body."""
        self._in_head = False
        self._in_body = True
        self._body_size = 0
        self._body_waited = 0.0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._connections.begin(self._connection)
        super().on_headers_complete()
        # The application's task has been created, but starts after this.
        self.scope["connection"] = self._connection  # type: ignore[typeddict-unknown-key] # an extension of ours
        if self.cycle is not None:  # a WebSocket's handshake has none
            self.cycle.transport = cast("Any", _Joined(self.transport, self.loop))

    def on_message_complete(self) -> None:
        """End the request."""
        self._in_body = False
        for timer in (self._body_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._body_timer = self._linger_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request. The rest of a body is discarded, up to a limit."""
        super().on_response_complete()
        self._connections.end(self._connection)
        if self._in_body and not self.transport.is_closing():
            has_owner = self._connection.owner is not None
            self._linger_left = LINGER_BYTES if has_owner else self._settings.max_body_without_key
            self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _body_arrives(self, size: int) -> None:
        self._body_size += size
        if self._linger_timer is not None:
            self._linger_left -= size
            if self._linger_left < 0:
                self.transport.close()
        elif self._body_timer is None:
            self._body_timer = self.loop.call_later(self._body_tick, self._check_body)

    @property
    def _answering(self) -> bool:
        """Whether the application is answering a request."""
        return getattr(self.cycle, "response_complete", True) is False

    @property
    def _body_tick(self) -> float:
        return self._limits.body_seconds / 4

    def _check_body(self) -> None:
        """End a request whose body arrives too slowly. Time in which the application does not read it does not count."""
        self._body_timer = None
        if not self._in_body or self.transport.is_closing() or self._linger_timer is not None:
            return
        # In these cases it is the application that keeps the client from sending.
        if not (self.flow.read_paused or self.cycle.waiting_for_100_continue):
            self._body_waited += self._body_tick
        if self._body_waited > self._limits.body_seconds + self._body_size / self._limits.body_rate:
            rate, seconds = self._limits.body_rate, self._limits.body_seconds
            message = f"The body arrived too slowly: fewer than {rate} bytes per second for more than {seconds:g} seconds."
            self._give_up("body", RequestTimeout(message))
            return
        self._body_timer = self.loop.call_later(self._body_tick, self._check_body)

    def _head_is_late(self) -> None:
        self._head_timer = None
        message = f"The request's head did not arrive within {self._limits.head_seconds:g} seconds."
        self._give_up("head", RequestTimeout(message))

    # Closing

    def _give_up(self, reason: str, error: ApiError) -> None:
        self._connections.closed(reason, self.loop.time(), self._connection.address)
        self._answer_and_close(error)

    def _answer_and_close(self, error: ApiError) -> None:
        """Answer an error, unless an answer has begun, and close the connection."""
        self._refused = True
        self._stop_timers()
        if self.transport.is_closing():
            return
        if not (self._answering and self.cycle.response_started):
            body = json.dumps(error_body(error.code, error.message, error.details, "")).encode()
            head = [
                STATUS_LINE[error.status],
                b"content-type: application/json\r\n",
                b"connection: close\r\n",
            ]
            head += [f"{name.lower()}: {value}\r\n".encode() for name, value in error.headers.items()]
            self.transport.write(b"".join([*head, b"content-length: %d\r\n\r\n" % len(body), body]))
        self.transport.close()
        # A client that does not read its answer would otherwise hold the connection open for ever.
        self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._body_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._body_timer = self._linger_timer = None


class _WebSocket(WebSocketsSansIOProtocol):
    """A connection that has become a WebSocket."""

    def __init__(
        self,
        *args: Any,
        connection: Connection,
        connections: Connections,
        reader: _SlowReader,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._connection = connection
        self._connections = connections
        self._reader = reader
        connection.grow = self._grow

    def _grow(self, size: int) -> None:
        self.conn.max_message_size = size

    def handle_connect(self, event: Any) -> None:
        """Pass the connection to the application."""
        super().handle_connect(event)
        if not self.close_sent:
            # The application's task has been created, but starts after this.
            self.scope["connection"] = self._connection  # type: ignore[typeddict-unknown-key] # an extension of ours

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the list."""
        self._reader.stop()
        self._connections.leave(self._connection)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a slow reader, with a time limit, and meanwhile do not read frames that need an answer, such as pings."""
        super().pause_writing()
        self._reader.wait()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Stop waiting for a slow reader."""
        super().resume_writing()
        self._reader.stop()
        if not self.read_paused:
            self.transport.resume_reading()
