"""A lightweight HTTP/1.1 client, which shares two processors with the measured programs.

It sends one request at a time over one persistent connection and parses with httptools: about a tenth of the cost of a general client.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httptools

LIMIT_SECONDS = 60.0


class Connection(asyncio.Protocol):
    """A connection to a coordinator with one caller's key, which is reopened after an idle timeout."""

    def __init__(self, url: str, key: str) -> None:
        self._address = urlsplit(url)
        host = self._address.netloc
        self._head = f"Host: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str, key: str) -> Self:
        """Connect. Raises `OSError`."""
        connection = cls(url, key)
        await connection._connect()
        return connection

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self._address.hostname, self._address.port)

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return the status and body of the response. Raises `ConnectionError`, `TimeoutError`."""
        if self._transport is None:
            await self._connect()
        assert self._transport is not None
        self._answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._answer

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of the response. Raises `ValueError` unless it is a success."""
        status, answer = await self.request(method, path, b"" if body is None else json.dumps(body).encode())
        if status >= 300:
            raise ValueError(f"{method} {path} was answered {status}: {answer.decode()}")
        return json.loads(answer)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        answer = getattr(self, "_answer", None)
        if answer is not None and not answer.done():
            answer.set_exception(error or ConnectionError("the coordinator has closed the connection"))

    def on_body(self, body: bytes) -> None:
        """Called by the parser for each chunk of a body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a response."""
        if not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), bytes(self._body)))
