"""Answers that are sent while their job runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import anyio
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from agent.coordinator.features.client_apis.job_stream import JobStream, JobStreams
from agent.coordinator.features.client_apis.results import unless_left
from agent.coordinator.features.client_apis.submission import AnswerSubmission, job_headers
from agent.coordinator.features.client_apis.text import writing
from agent.coordinator.features.client_apis.text.chunks import Chunks
from agent.coordinator.http.server_sent_events import KEEP_ALIVE
from agent.core.errors import ApiError, error_body

ChunkT = TypeVar("ChunkT")

CLOSE_SECONDS: Final = 5.0
"""How long a stream may take to cancel its job after the client has left."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How an API sends the chunks of an answer. `end` follows a complete answer, and `keep_alive` is sent while there is no chunk."""

    frame: Callable[[BaseModel], bytes]
    end: bytes = b""
    keep_alive: bytes = KEEP_ALIVE
    media_type: str = "text/event-stream"


async def text(submission: AnswerSubmission, form: Chunks, framing: Framing) -> StreamingResponse:
    """Answer with the text of a language model, piece by piece."""
    stream = await JobStream.begin(submission)
    return answer(stream, writing.chunks(stream, form), form.failure, framing)


def answer(
    stream: JobStream | JobStreams,
    chunks: AsyncIterator[BaseModel | None],
    failure: Callable[[Mapping[str, Any]], BaseModel],
    framing: Framing,
) -> StreamingResponse:
    """Answer with chunks; None is an interval without one. `failure` makes the last chunk of a stream that fails from the fields of its error."""
    request_id = stream.submissions[0].call.request_id
    return _JobResponse(stream, _frames(chunks, request_id, failure, framing), framing)


async def begun(
    stream: JobStream, chunks: AsyncIterator[ChunkT], has_begun: Callable[[list[ChunkT]], bool]
) -> AsyncIterator[ChunkT]:
    """Read chunks until the answer has begun, so that a job that fails before is an ordinary error. Return all of them.

    Raises `AnswerFailed`; then the stream is closed.
    """
    beginning: list[ChunkT] = []

    async def read() -> None:
        async for chunk in chunks:
            beginning.append(chunk)
            if has_begun(beginning):
                return

    try:
        await unless_left(stream.submission, read())
    except BaseException:
        await stream.close()
        raise
    return _joined(beginning, chunks)


async def _joined(beginning: list[ChunkT], rest: AsyncIterator[ChunkT]) -> AsyncIterator[ChunkT]:
    for chunk in beginning:
        yield chunk
    async for chunk in rest:
        yield chunk


async def _frames(
    chunks: AsyncIterator[BaseModel | None],
    request_id: str,
    failure: Callable[[Mapping[str, Any]], BaseModel],
    framing: Framing,
) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield framing.keep_alive if chunk is None else framing.frame(chunk)
    # The status of the answer is already sent, so the error becomes its last chunk.
    except ApiError as error:
        body = error_body(error.code, error.message, error.details, request_id)
        yield framing.frame(failure(body["error"]))
    else:
        yield framing.end


class _JobResponse(StreamingResponse):
    """A streamed answer that cancels its job when the client leaves, however early."""

    def __init__(
        self, stream: JobStream | JobStreams, frames: AsyncIterator[bytes], framing: Framing
    ) -> None:
        # No cache keeps it, and no proxy holds it back.
        headers = {**job_headers(*stream.submissions), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(frames, headers=headers, media_type=framing.media_type)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # The cancellation that the client's leaving causes must not reach this.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._stream.close()
