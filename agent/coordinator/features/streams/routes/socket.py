"""`/ws`: messages about events as they happen. docs/reference/streams.md is the reference."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

import orjson
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.coordinator.connections import connection_of
from agent.coordinator.features.streams.streams import Filter, MessageStream, open_stream
from agent.coordinator.http import credentials
from agent.coordinator.operations.context import Context
from agent.core.errors import ApiError, PayloadTooLarge, Unauthorized, ValidationFailed, error_body
from runners.validation_errors import field_errors

router = APIRouter(tags=["Streams"])

CLOSE_BASE: Final = 4000
"""The closing code of a refused connection is this plus the HTTP status of its error."""
CLOSE_SECONDS: Final = 5.0

log = structlog.get_logger()


class AuthMessage(BaseModel, defer_build=True):
    """The first message of a client that has not sent its key with the handshake."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["auth"]
    token: Annotated[str, Field(min_length=1, max_length=512)]


class SubscribeMessage(Filter):
    """Changes the client's subscription."""

    type: Literal["subscribe"]


@router.websocket("/ws")
@router.websocket("/v1/ws")
async def ws(websocket: WebSocket) -> None:
    """See docs/reference/streams.md."""
    await _SocketConnection(websocket.app.state.context, websocket).serve()


class _SocketConnection:
    """One client's socket, with a reader and a writer; only the writer sends."""

    def __init__(self, context: Context, websocket: WebSocket) -> None:
        self._context = context
        self._settings = context.settings.streams
        self._websocket = websocket
        self._accepted = False
        # The requested filter, or the error of an invalid message. The next message is read when this one has been answered.
        self._requests: asyncio.Queue[Filter | ApiError] = asyncio.Queue(1)

    async def serve(self) -> None:
        """Serve until either side ends the connection."""
        try:
            await self._serve()
        except ValidationError as error:
            await self._refuse(ValidationFailed("The message is not valid.", field_errors(error)))
        except ApiError as error:
            await self._refuse(error)
        except TimeoutError:
            log.info("stream_reader_stuck")
        except WebSocketDisconnect:
            pass

    async def _serve(self) -> None:
        secret, chosen = credentials.checked(self._context, self._websocket.scope), self._query()
        sends_key = secret is None
        if secret is None:
            await self._accept()
            # Browsers cannot send headers with a handshake, and keys in addresses end up in logs.
            secret = await self._first_message()
        async with open_stream(self._context, secret, chosen) as stream:
            if (connection := connection_of(self._websocket.scope)) is not None:
                connection.identify(stream.owner)
            # Accepted only now, so that a connected client misses nothing.
            await self._accept()
            if sends_key:
                await self._confirm(chosen, stream)
            tasks = [
                asyncio.create_task(self._read(stream), name="stream-reader"),
                asyncio.create_task(self._write(stream), name="stream-writer"),
            ]
            try:
                finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                # Both must have ended before the stream closes under them.
                await asyncio.gather(*tasks, return_exceptions=True)
        for task in finished:
            task.result()

    async def _accept(self) -> None:
        if not self._accepted:
            self._accepted = True
            await self._websocket.accept()

    def _query(self) -> Filter:
        parameters = self._websocket.query_params
        values: dict[str, Any] = {}
        for name in parameters:
            if name in ("types", "job_ids"):
                values[name] = [part for value in parameters.getlist(name) for part in value.split(",")]
            elif name not in ("token", "role"):
                values[name] = parameters[name]
        return Filter.model_validate(values)

    async def _first_message(self) -> str:
        try:
            async with asyncio.timeout(self._settings.auth_seconds):
                message = await self._receive()
        except TimeoutError:
            raise Unauthorized(
                f"No key arrived within {self._settings.auth_seconds:g} seconds. Send it as `Authorization: Bearer KEY`, as "
                '`?token=KEY`, or as the first message, {"type":"auth","token":"KEY"}.'
            ) from None
        return AuthMessage.model_validate(message).token

    async def _receive(self) -> dict[str, Any]:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1006))
        content = received.get("text") or received.get("bytes") or ""
        if len(content) > self._settings.max_message:
            raise PayloadTooLarge(f"A message may have at most {self._settings.max_message} bytes.")
        try:
            message = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise ValidationFailed("The message is not JSON.", {"message": str(error)}) from None
        if not isinstance(message, dict):
            raise ValidationFailed("The message is not an object.", {"message": "must be a JSON object"})
        return message

    async def _read(self, stream: MessageStream) -> None:
        while True:
            request: Filter | ApiError
            try:
                request = SubscribeMessage.model_validate(await self._receive())
            except ValidationError as error:
                request = ValidationFailed("The message is not valid.", field_errors(error))
            except ValidationFailed as error:
                request = error
            await self._requests.put(request)
            stream.wake()

    async def _write(self, stream: MessageStream) -> None:
        while True:
            while not self._requests.empty():
                await self._answer(self._requests.get_nowait(), stream)
            message = await stream.next(self._settings.heartbeat_seconds)
            if message is not None:
                await self._send(message)
            elif self._requests.empty():
                await self._send({"type": "heartbeat", "data": {"after": stream.position}})

    async def _answer(self, request: Filter | ApiError, stream: MessageStream) -> None:
        try:
            if isinstance(request, ApiError):
                raise request
            stream.choose(request)
        except ApiError as error:
            await self._send(_error_message(error))
        else:
            await self._confirm(request, stream)

    async def _confirm(self, chosen: Filter, stream: MessageStream) -> None:
        job_ids = None if chosen.job_ids is None else sorted(chosen.job_ids)
        data = {"types": sorted(chosen.types), "job_ids": job_ids, "after": stream.position}
        await self._send({"type": "subscribed", "data": data})

    async def _send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises `TimeoutError` if the client does not read."""
        async with asyncio.timeout(self._settings.send_seconds):
            await self._websocket.send_text(_frame(message))
        # The transport pauses writing only when the loop runs, so give it a turn: otherwise a slow reader holds nothing back.
        await asyncio.sleep(0)

    async def _refuse(self, error: ApiError) -> None:
        message = _error_message(error)
        log.info("stream_refused", code=error.code, request_id=message["error"]["request_id"])
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._accept()
                await self._websocket.send_text(_frame(message))
                await self._websocket.close(CLOSE_BASE + error.status, error.code)


def _frame(message: Mapping[str, Any]) -> str:
    # A runner's text may contain a lone surrogate, which the standard library escapes and other encoders refuse.
    return json.dumps(message, separators=(",", ":"))


def _error_message(error: ApiError) -> dict[str, Any]:
    body = error_body(error.code, error.message, error.details, secrets.token_hex(8))
    return {"type": "error", "status": error.status, **body}
