"""A client of `/ws` under the test's control."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

LIMIT_SECONDS = 180


class StreamSocket:
    """One connection. `key` is sent as bearer header; `buffer` is the kernel's receive buffer, for clients that do not read.

    Other keyword arguments are the query's parameters.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        path: str = "/ws",
        *,
        headers: Any = None,
        buffer: int | None = None,
        **query: Any,
    ) -> None:
        address = f"{url.replace('http', 'ws', 1)}{path}"
        raw = socket.socket()
        if buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        server = urlsplit(url)
        raw.connect((server.hostname, server.port))
        self._opening = connect(
            f"{address}?{urlencode(query)}" if query else address,
            additional_headers=headers or ({} if key is None else {"Authorization": f"Bearer {key}"}),
            sock=raw,
            max_size=None,
            compression=None,
            max_queue=4,
            open_timeout=LIMIT_SECONDS,
            close_timeout=2,
        )
        self.last = 0

    def __enter__(self) -> Self:
        self.connection: ClientConnection = self._opening.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._opening.__exit__(*exception)

    def send(self, message: Any) -> None:
        self.connection.send(message if isinstance(message, str) else json.dumps(message))

    def next(self, limit: float = LIMIT_SECONDS) -> dict[str, Any]:
        """Return the next message of any kind; sequence numbers never decrease."""
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=limit))
        if "seq" in message:
            assert message["seq"] >= self.last if message["type"] == "resync" else message["seq"] > self.last
            self.last = message["seq"]
        return message

    def until(self, last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return messages up to one that matches, without heartbeats."""
        found: list[dict[str, Any]] = []
        while not found or not last(found[-1]):
            message = self.next()
            if message["type"] != "heartbeat":
                found.append(message)
        return found

    def subscribe(self, **subscription: Any) -> dict[str, Any]:
        """Change the subscription. Returns the response, `subscribed` or `error`; earlier messages are dropped."""
        self.send({"type": "subscribe", **subscription})
        return self.until(lambda message: message["type"] in ("subscribed", "error"))[-1]

    def refusal(self) -> tuple[int, dict[str, Any]]:
        """Return the close code of a refused connection, and the error message before it."""
        message = self.next()
        assert message["type"] == "error", message
        error: dict[str, Any] = message["error"]
        assert set(error) == {"code", "message", "details", "request_id"}
        try:
            self.connection.recv(timeout=LIMIT_SECONDS)
        except ConnectionClosed as closed:
            return (1006 if closed.rcvd is None else closed.rcvd.code), error
        raise AssertionError("the connection was not closed")

    def abort(self) -> None:
        """End the connection like a cut cable: without a close frame, and with data in transit lost."""
        self.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the thread that reads, without sending anything: while it reads, closing does nothing.
        self.connection.socket.shutdown(socket.SHUT_RD)
        self.connection.socket.close()
