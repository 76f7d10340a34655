"""Follows a job whose answer is streamed: its events until its end, and its results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, Self

from agent.coordinator.features.client_apis.errors import AnswerChanged
from agent.coordinator.features.client_apis.results import ResultT, checked_result, drop
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.feed.hub import Message, Subscription
from agent.coordinator.operations.jobs import own_jobs
from agent.core.errors import ApiError
from agent.core.jobs import FINAL
from agent.sections import section_of

KEEP_ALIVE_SECONDS: Final = 15.0
"""Interval of keep-alive comments, which prevent proxies from closing an idle stream."""


class JobStream:
    """A job whose answer is streamed. Call `begin` as soon as the job is submitted, and always `close`."""

    def __init__(self, submission: AnswerSubmission, watch: AsyncExitStack, news: Subscription) -> None:
        self.submission = submission
        self._watch = watch
        self._news = news
        self._deadline = 0.0
        self._ended = False

    @property
    def submissions(self) -> tuple[AnswerSubmission, ...]:
        """The jobs of the answer."""
        return (self.submission,)

    @classmethod
    async def begin(cls, submission: AnswerSubmission) -> Self:
        """Subscribe to the job's events."""
        watch = AsyncExitStack()
        news = await watch.enter_async_context(submission.context.feed.subscribe(submission.job_id))
        return cls(submission, watch, news)

    async def close(self) -> None:
        """Unsubscribe, and cancel the job if it has not ended, because the client has left."""
        await self._watch.aclose()
        if not self._ended:
            # The job may have ended by itself in the meantime, and nobody follows it any more.
            with suppress(ApiError):
                await drop(self.submission)

    def extend(self) -> None:
        """Restart the time limit of the answer, because a piece of it has arrived."""
        self._deadline = (
            asyncio.get_running_loop().time()
            + section_of(self.submission.context.settings, ClientApiSettings).answer_seconds
        )

    async def messages(self) -> AsyncIterator[Message | None]:
        """Yield the job's messages until it ends or the time limit is over, and None after an interval without one."""
        loop = asyncio.get_running_loop()
        self.extend()
        # The job may have ended before the subscription began.
        status = await self._status()
        while status not in FINAL and (seconds_left := self._deadline - loop.time()) > 0:
            # The wait ends after the interval, so that the caller can send a sign of life to the client.
            message = await self._news.next(min(seconds_left, KEEP_ALIVE_SECONDS))
            if message is None or message["type"] != "job_event":  # a change, or messages were lost
                status = await self._status()
            yield message

    async def result(self, output: type[ResultT]) -> ResultT:
        """Return the results of the job, which has ended or timed out. Raises `AnswerFailed`."""
        submission = self.submission
        job, results = await own_jobs.wait_until_final(
            submission.context, submission.caller, submission.job_id, 0
        )
        self._ended = job.status in FINAL
        return await checked_result(submission, job, results, output)

    def changed(self) -> AnswerChanged:
        """Return the error for results that contradict what was sent."""
        job_id = self.submission.job_id
        message = (
            "Another miner wrote a different text after a part had been sent. "
            f"GET /v1/jobs/{job_id}/results has the whole text."
        )
        return AnswerChanged(job_id, message)

    async def _status(self) -> str:
        submission = self.submission
        job = await own_jobs.get(submission.context, submission.caller, submission.job_id)
        return job.status


class JobStreams:
    """The jobs of one answer, which are streamed one after the other."""

    def __init__(self, streams: Sequence[JobStream]) -> None:
        self.streams = streams

    @property
    def submissions(self) -> tuple[AnswerSubmission, ...]:
        """The jobs of the answer."""
        return tuple(stream.submission for stream in self.streams)

    @classmethod
    async def begin(cls, submissions: Sequence[AnswerSubmission]) -> Self:
        """Subscribe to the events of all jobs."""
        return cls([await JobStream.begin(submission) for submission in submissions])

    async def close(self) -> None:
        """Do the same as `JobStream.close` for all jobs."""
        await asyncio.gather(*(stream.close() for stream in self.streams))
