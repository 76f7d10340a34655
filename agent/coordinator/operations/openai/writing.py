"""The text of a language model while it is written, as chunks of a streamed answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Final, Protocol, Self

from pydantic import BaseModel

from agent.coordinator.feed.hub import Message, Subscription
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.operations.openai.serving import Asked, drop, made
from agent.core.errors import AnswerChanged, ApiError
from agent.core.jobs import FINAL
from runners.llm.request import InferenceResult

KEEP_ALIVE_SECONDS: Final = 15.0
"""A stream says so often that it is still there, which keeps proxies from closing it."""


class Chunks(Protocol):
    """How one kind of answer is cut into chunks."""

    def begin(self) -> list[BaseModel]:
        """What comes before the text."""

    def piece(self, text: str) -> BaseModel:
        """A piece of the text."""

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """What comes after the text."""


class Writing:
    """A job whose text is passed on while it is written. `begin` it as soon as the job is there, and `close` it in any case."""

    def __init__(self, asked: Asked, watch: AsyncExitStack, news: Subscription) -> None:
        self._asked = asked
        self._watch = watch
        self._news = news
        self._shown = _Shown()
        self._ended = False

    @classmethod
    async def begin(cls, asked: Asked) -> Self:
        """Listen from now on."""
        watch = AsyncExitStack()
        news = await watch.enter_async_context(asked.context.feed.subscribe(asked.job_id))
        return cls(asked, watch, news)

    async def close(self) -> None:
        """Listen no more; the job of a client that has left before its end is cancelled."""
        await self._watch.aclose()
        if not self._ended:
            with suppress(ApiError):
                await drop(self._asked)

    async def chunks(self, form: Chunks) -> AsyncIterator[BaseModel | None]:
        """The answer, chunk by chunk; None where there was silence for a while. Raises `AnswerFailed`.

        Where pieces were lost, or another miner began anew, the text rests until the job ends, and the last piece brings
        what is missing.
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
        limit = self._asked.context.settings.answer_seconds
        deadline = loop.time() + limit
        status = await self._status()
        while status not in FINAL and (left := deadline - loop.time()) > 0:
            message = await self._news.next(min(left, KEEP_ALIVE_SECONDS))
            if message is None or message["type"] != "job_event":  # a change, or messages were lost
                status = await self._status()
            if message is None:
                yield None
            elif piece := self._shown.take(message):
                deadline = loop.time() + limit
                yield piece

    async def _status(self) -> str:
        job = await jobs.get(self._asked.context, self._asked.caller, self._asked.job_id)
        return str(job["status"])

    async def _result(self) -> InferenceResult:
        job = await jobs.wait_until_final(self._asked.context, self._asked.caller, self._asked.job_id, 0)
        self._ended = job["status"] in FINAL
        return await made(self._asked, job, InferenceResult)

    def _rest(self, text: str) -> str:
        rest = self._shown.rest(text)
        if rest is None:
            job_id = self._asked.job_id
            message = f"Another miner wrote the text anew after a part had been shown; GET /v1/jobs/{job_id}/results has the whole."
            raise AnswerChanged(job_id, message)
        return rest


class _Shown:
    """The text that was passed on so far. Once pieces may be missing, no more are passed on."""

    def __init__(self) -> None:
        self._text = ""
        self._complete = True

    def take(self, message: Message) -> str:
        """What to pass on of a message."""
        data = message.get("data", {})
        if message["type"] != "job_event" or data["kind"] != "token" or not isinstance(data.get("text"), str):
            return ""
        # The runner says how much text stands before a piece: after a gap, and in a new run, it is not what was shown.
        if data.get("offset") != len(self._text):
            self._complete = False
        if not self._complete:
            return ""
        piece: str = data["text"]
        self._text += piece
        return piece

    def rest(self, text: str) -> str | None:
        """What of the final text has not been passed on; None when what was passed on is not how it begins."""
        return text[len(self._text) :] if text.startswith(self._text) else None
