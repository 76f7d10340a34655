"""The text of a language model as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from typing import Self

from aitbc._calls.jobs import failure, get_results
from aitbc._http.events import LAST_EVENT, follow
from aitbc._http.flow import Answer, Emit, Open, Session, Stream
from aitbc.errors import TransportError
from aitbc.models import JobEvent, JobResults, ServiceJob


def write(session: Session, /, job_id: str) -> Stream[str | JobResults]:
    """The pieces of a job's text, then its results.

    Raises `JobFailed` when the job ends without any, and what `follow` raises.
    """
    shown = _Shown()
    answer: Answer = None
    opened = False
    with closing(follow(session, job_id)) as events:
        while True:
            try:
                command = events.send(answer)
            except StopIteration:
                break
            if isinstance(command, Emit):
                answer = None
                if piece := shown.take(command.item):
                    yield Emit(piece)
                continue
            if isinstance(command, Open):
                # One that goes on after an event misses nothing, or says so.
                shown.complete = shown.complete and (not opened or LAST_EVENT in command.request.headers)
                opened = True
            answer = yield command
    results = yield from get_results(session, job_id)
    rest = shown.rest(str(results.results.get("text", "")))
    if rest:
        yield Emit(rest)
    yield Emit(results)
    if rest is None:
        raise TransportError(
            f"Pieces of the text of job {job_id} were lost, or it was written anew after some had been shown; "
            "its results hold the whole."
        )


class _Shown:
    """The text that was passed on so far. `complete` is False once pieces may be missing: no more are passed on then."""

    def __init__(self) -> None:
        self.complete = True
        self._text = ""
        self._run: str | None = None

    def take(self, event: JobEvent) -> str:
        """What to pass on of an event. Raises `JobFailed` for the end of a job without results."""
        if (job := event.job) is not None:
            if job.is_final and job.status != "completed":
                raise failure(job)
            if self._text and job.started_at != self._run:
                # Another run, perhaps on another machine: it writes the text from its beginning.
                self.complete = False
            self._run = job.started_at
            return ""
        if event.kind == "resync":
            self.complete = False
        if event.kind != "token" or not isinstance(piece := event.data.get("text"), str):
            return ""
        # Where the runner says how much text stands before a piece, one that was missed is noticed at the next.
        if event.data.get("offset", len(self._text)) != len(self._text):
            self.complete = False
        if not self.complete:
            return ""
        self._text += piece
        return piece

    def rest(self, text: str) -> str | None:
        """What of the final text has not been passed on; None when what was passed on is not how it begins."""
        return text[len(self._text) :] if text.startswith(self._text) else None


class TextStream:
    """The text of a language model, piece by piece: iterate over it. Joined, the pieces are the whole text.

    `job` is the job that was created, `results` what it made, once the iteration has come to its end (None before).
    When pieces may have been lost (the reader was slow, a connection was broken for long), or the job begins anew on another miner, the
    text rests until the job ends and the last piece brings what is missing. `TransportError` is raised at the end when that cannot be, because what was shown is
    not how the final text begins; `results` are there all the same. `JobFailed` is raised when the job ends without results.

    Leave the loop, or `close`, to stop before the end; the job goes on, unless it is cancelled.
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
    """As `TextStream`, for `async for`; use it with `async with` when the loop may be left before its end."""

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
