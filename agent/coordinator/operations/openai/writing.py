"""Streams the text of a language model as chunks of an answer while it is generated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Final, Protocol, Self

from pydantic import BaseModel

from agent.coordinator.feed.hub import Message, Subscription
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.operations.openai.serving import Submission, drop, made
from agent.core.errors import AnswerChanged, ApiError
from agent.core.jobs import FINAL
from runners.llm.request import InferenceResult

KEEP_ALIVE_SECONDS: Final = 15.0
"""Interval of keep-alive comments, which prevent proxies from closing an idle stream."""


class Chunks(Protocol):
    """Forms the chunks of one kind of answer."""

    def begin(self) -> list[BaseModel]:
        """Return the chunks before the text."""

    def piece(self, text: str) -> BaseModel:
        """Return the chunk for a piece of the text."""

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunks after the text."""


class Writing:
    """A job whose text is streamed. Call `begin` as soon as the job is submitted, and always `close`."""

    def __init__(self, submission: Submission, watch: AsyncExitStack, news: Subscription) -> None:
        self._submission = submission
        self._watch = watch
        self._news = news
        self._sent = _Sent()
        self._ended = False

    @classmethod
    async def begin(cls, submission: Submission) -> Self:
        """Subscribe to the job's events."""
        watch = AsyncExitStack()
        news = await watch.enter_async_context(submission.context.feed.subscribe(submission.job_id))
        return cls(submission, watch, news)

    async def close(self) -> None:
        """Unsubscribe, and cancel the job if it has not ended, because the client has left."""
        await self._watch.aclose()
        if not self._ended:
            with suppress(ApiError):
                await drop(self._submission)

    async def chunks(self, form: Chunks) -> AsyncIterator[BaseModel | None]:
        """Yield the answer, chunk by chunk, and None after an interval without a chunk. Raises `AnswerFailed`.

        If pieces were lost, or another miner began again, the text pauses until the job ends, and the last piece has the missing
        text.
        """
        for chunk in form.begin():
            yield chunk
        async for piece in self._pieces():
            yield None if piece is None else form.piece(piece)
        result = await self._result()
        if rest := self._rest(result.text):
            yield form.piece(rest)
        for chunk in form.end(result):
            yield chunk

    async def _pieces(self) -> AsyncIterator[str | None]:
        loop = asyncio.get_running_loop()
        limit = self._submission.context.settings.answer_seconds
        deadline = loop.time() + limit
        status = await self._status()
        while status not in FINAL and (left := deadline - loop.time()) > 0:
            message = await self._news.next(min(left, KEEP_ALIVE_SECONDS))
            if message is None or message["type"] != "job_event":  # a change, or messages were lost
                status = await self._status()
            if message is None:
                yield None
            elif piece := self._sent.piece_of(message):
                deadline = loop.time() + limit
                yield piece

    async def _status(self) -> str:
        job = await jobs.get(self._submission.context, self._submission.caller, self._submission.job_id)
        return job.status

    async def _result(self) -> InferenceResult:
        job, results = await jobs.wait_until_final(
            self._submission.context, self._submission.caller, self._submission.job_id, 0
        )
        self._ended = job.status in FINAL
        return await made(self._submission, job, results, InferenceResult)

    def _rest(self, text: str) -> str:
        rest = self._sent.rest(text)
        if rest is None:
            job_id = self._submission.job_id
            message = (
                "Another miner wrote a different text after a part had been sent. "
                f"GET /v1/jobs/{job_id}/results has the whole text."
            )
            raise AnswerChanged(job_id, message)
        return rest


class _Sent:
    """The text that has been sent. Once pieces may be missing, no more are sent."""

    def __init__(self) -> None:
        self._text = ""
        self._complete = True

    def piece_of(self, message: Message) -> str:
        """Return the text of a message to send; empty if there is none."""
        data = message.get("data", {})
        if message["type"] != "job_event" or data["kind"] != "token" or not isinstance(data.get("text"), str):
            return ""
        # `offset` is the length of the text before this piece. After a gap, and in a new run, it differs from the sent text's.
        if data.get("offset") != len(self._text):
            self._complete = False
        if not self._complete:
            return ""
        piece: str = data["text"]
        self._text += piece
        return piece

    def rest(self, text: str) -> str | None:
        """Return the unsent rest of the final text; None if the final text does not begin with the sent text."""
        return text[len(self._text) :] if text.startswith(self._text) else None
