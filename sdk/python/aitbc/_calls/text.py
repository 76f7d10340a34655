"""Streams the text of a language model while it is generated."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from typing import Self

from aitbc._calls.jobs import failure, get_results
from aitbc._calls.opening import follow
from aitbc._http.events import LAST_EVENT
from aitbc._http.flow import Answer, Emit, Open, Session, Stream
from aitbc.answers.jobs import JobEvent, JobResults, ServiceJob
from aitbc.errors import TransportError


def write(session: Session, /, job_id: str) -> Stream[str | JobResults]:
    """Yield the pieces of a job's text, then its results.

    Raises `JobFailed` if the job ends without results, and the errors of `follow`.
    """
    streamed = _Streamed()
    answer: Answer = None
    opened = False
    with closing(follow(session, job_id)) as events:
        while True:
            try:
                # The flow of events runs inside of this one, so that both drivers can perform it.
                command = events.send(answer)
            except StopIteration:
                break
            if isinstance(command, Emit):
                answer = None
                if piece := streamed.advance(command.item):
                    yield Emit(piece)
                continue
            if isinstance(command, Open):
                # A connection that resumes after an event misses nothing, or receives an event `resync`.
                streamed.complete = streamed.complete and (
                    not opened or LAST_EVENT in command.request.headers
                )
                opened = True
            answer = yield command
    # The results have the complete text, even if the stream broke.
    results = yield from get_results(session, job_id)
    unsent_text = streamed.rest(str(results.results.get("text", "")))
    if unsent_text:
        yield Emit(unsent_text)
    # Before the error below, so that a caller who catches it still has the text.
    yield Emit(results)
    if unsent_text is None:
        raise TransportError(
            f"The streamed text of job {job_id} is not the beginning of its final text: pieces were lost, or another miner "
            "generated it again. The results have the complete text."
        )


class _Streamed:
    """The text streamed so far. `complete` becomes False once a piece may be missing; no more pieces are streamed then."""

    def __init__(self) -> None:
        self.complete = True
        self._text = ""
        self._run: str | None = None

    def advance(self, event: JobEvent) -> str:
        """Return the piece of text to stream for an event. Raises `JobFailed` if the job ended without results."""
        if (job := event.job) is not None:
            if job.is_final and job.status != "completed":
                raise failure(job)
            if self._text and job.started_at != self._run:
                # Another run, perhaps on another machine, generates the text from the beginning.
                self.complete = False
            self._run = job.started_at
            return ""
        if event.kind == "resync":
            self.complete = False
        if event.kind != "token" or not isinstance(piece := event.data.get("text"), str):
            return ""
        # Runners report the offset of each piece, so a missing piece is noticed at the next one.
        if event.data.get("offset", len(self._text)) != len(self._text):
            self.complete = False
        # Text after a gap would read as if nothing were missing.
        if not self.complete:
            return ""
        self._text += piece
        return piece

    def rest(self, text: str) -> str | None:
        """Return the part of the final text that was not streamed, or None if the streamed text is not its beginning."""
        return text[len(self._text) :] if text.startswith(self._text) else None


class TextStream:
    """An iterator over the pieces of a language model's text. Joined, the pieces are the complete text.

    `job` is the created job. `results` is None until the iteration has ended.
    If pieces may be missing (the reader was slow, or a connection was broken for long), or another miner starts the job again, the
    stream pauses until the job ends, and the last piece has the rest of the text. If the streamed pieces are not the beginning of the
    final text, `TransportError` is raised at the end, with `results` set. `JobFailed` is raised if the job ends without results.

    To stop early, leave the loop or call `close`. The job continues unless it is cancelled.
    """

    def __init__(self, job: ServiceJob, items: Generator[str | JobResults, None, None]) -> None:
        self.job = job
        self.results: JobResults | None = None
        self._items = items

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        for item in self._items:
            if isinstance(item, str):
                return item
            self.results = item
        raise StopIteration

    def close(self) -> None:
        """Close the connection."""
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncTextStream:
    """An asyncio `TextStream`, for `async for`. Use it with `async with` if the loop may end early."""

    def __init__(self, job: ServiceJob, items: AsyncGenerator[str | JobResults, None]) -> None:
        self.job = job
        self.results: JobResults | None = None
        self._items = items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async for item in self._items:
            if isinstance(item, str):
                return item
            self.results = item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the connection."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
