"""WebSocket connections for the drivers, blocking and asyncio. Only this module uses the `websockets` library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
from websockets.asyncio import client
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from aitbc import errors
from aitbc._http.flow import Answer, Connect, Response
from aitbc.errors import AITBCError, TransportError

_LONGEST_MESSAGE = 2**20
"""Bytes."""
_WAITING = 16
"""Messages that are buffered ahead of the caller."""
_CLOSE_SECONDS = 1.0


def connected(http: httpx.Client, command: Connect) -> Generator[Answer, None, None]:
    """Yield the response to the upgrade request, then each message. An error ends the iteration."""
    address, options, receive_timeout = _plan(http, command)
    try:
        with connect(address, **options) as connection:
            connection.send(command.first, text=True)
            # The library raises for any other status, so the upgrade has succeeded here.
            yield Response(101, {}, b"")
            while True:
                yield _bytes(connection.recv(timeout=receive_timeout))
    except (OSError, WebSocketException) as error:
        yield _failure(error)


async def connected_async(http: httpx.AsyncClient, command: Connect) -> AsyncGenerator[Answer, None]:
    """Do the same as `connected`, on asyncio."""
    address, options, receive_timeout = _plan(http, command)
    try:
        async with client.connect(address, **options) as connection:
            await connection.send(command.first, text=True)
            yield Response(101, {}, b"")
            while True:
                # The asynchronous `recv` has no limit of its own.
                async with asyncio.timeout(receive_timeout):
                    message = await connection.recv()
                yield _bytes(message)
    except (OSError, WebSocketException) as error:
        yield _failure(error)


def _plan(
    http: httpx.Client | httpx.AsyncClient, command: Connect
) -> tuple[str, dict[str, Any], float | None]:
    """Return the URL, the library's options, and the seconds that the coordinator may send nothing."""
    base, request = http.base_url, command.request
    scheme = "wss" if base.scheme == "https" else "ws"
    # The other headers of httpx, such as the accepted encodings, mean nothing to a WebSocket.
    headers = {name: http.headers[name] for name in ("authorization",) if name in http.headers}
    usual = http.timeout.as_dict()
    receive_timeout = usual["read"] and usual["read"] + request.extra_timeout
    opening = usual["connect"]
    if (limit := request.limit) is not None:
        receive_timeout = limit if receive_timeout is None else min(limit, receive_timeout)
        opening = limit if opening is None else min(limit, opening)
    options = {
        "additional_headers": headers,
        "user_agent_header": http.headers["user-agent"],
        "proxy": True if http.trust_env else None,
        "open_timeout": opening,
        # The coordinator sends heartbeats of its own.
        "ping_interval": None,
        "close_timeout": _CLOSE_SECONDS,
        "max_size": _LONGEST_MESSAGE,
        "max_queue": _WAITING,
    }
    return f"{scheme}://{base.netloc.decode()}{base.path.rstrip('/')}{request.path}", options, receive_timeout


def _bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def _failure(error: OSError | WebSocketException) -> Response | AITBCError:
    if isinstance(error, InvalidStatus):
        response = error.response
        # The refusal is a response like others: with its status, the flow decides whether to try again.
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        return Response(response.status_code, headers, bytes(response.body or b""))
    if isinstance(error, TimeoutError):
        return errors.TimeoutError("The coordinator sent nothing for too long.")
    return TransportError(f"The connection to the coordinator broke: {str(error) or type(error).__name__}.")
