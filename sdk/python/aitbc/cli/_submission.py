"""Makes a job of a work, once: also when the program was killed between asking the coordinator and noting its answer.

The note of an attempt is on the disk before it is submitted, under an idempotency key that follows from the work and the
attempt. Whoever comes after a crash submits the same again, and gets the same job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace

from aitbc._calls.jobs import failure
from aitbc._client import AsyncAITBCClient
from aitbc.cli._display import Row
from aitbc.cli._notebook import Note, Notebook
from aitbc.cli._work import ANY_JOB, Work, Writer, idempotency_key
from aitbc.errors import AITBCError, APIError, InternalError, JobNotFound
from aitbc.models import Job

CANCEL_SECONDS = 10.0
"""The longest that Ctrl-C waits for the coordinator to cancel a job, or to say which one it has just created."""
_LOST = frozenset({"failed", "cancelled"})


class Submission:
    """The job of one work. `on_cancelled` is told of a job that was cancelled because its task was."""

    def __init__(
        self,
        client: AsyncAITBCClient,
        notebook: Notebook,
        work: Work,
        key: str,
        on_cancelled: Callable[[str], None],
    ) -> None:
        self._client = client
        self._notebook = notebook
        self._work = work
        self._key = key
        self._on_cancelled = on_cancelled

    async def job(self, note: Note | None, row: Row) -> str:
        """The id of the work's job: the one that `note` knows of, unless it has come to nothing, else a new one."""
        known = note is not None
        note = note or Note()
        while True:
            if note.job_id is None:
                note = await self._created(note, row)
            if note.job_id is None:  # the attempt that was begun before was refused
                continue
            if not known or not await self._is_lost(note.job_id):
                return note.job_id
            note, known = note.again(), False

    async def _created(self, note: Note, row: Row) -> Note:
        resumed = note.body is not None
        if note.body is None:
            note = replace(note, body=self._work.complete_body(await self._addresses(row)))
            self._keep(note)
        try:
            job = await self._posted(note)
        except InternalError:
            raise  # it may have been created all the same; the same key finds out
        except APIError:
            note = note.again()
            self._keep(note)
            if resumed:
                return note
            raise
        row.job(job)
        note = replace(note, job_id=job.job_id)
        self._keep(note)
        return note

    async def _addresses(self, row: Row) -> dict[str, str]:
        addresses = {}
        for name, path in self._work.files.items():
            stored = await self._client.artifacts.upload(path, progress=row.uploading)
            addresses[name] = stored.address
        return addresses

    async def _posted(self, note: Note) -> Job:
        """Create the job. Where this is interrupted in the middle, the job is cancelled as soon as it is known."""
        key, body = idempotency_key(self._notebook.identity(), self._key, note.attempt), note.body or {}
        if self._work.route == ANY_JOB:
            creating = asyncio.ensure_future(self._client.jobs.create(body, idempotency_key=key))
        else:
            call = self._client.services.call(self._work.route, body, idempotency_key=key)
            creating = asyncio.ensure_future(call)
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            with suppress(AITBCError, TimeoutError):
                job = await asyncio.wait_for(creating, CANCEL_SECONDS)
                await self._cancel(job.job_id)
            raise

    async def _is_lost(self, job_id: str) -> bool:
        async with self._ended_with_us(job_id):
            try:
                return (await self._client.jobs.get(job_id)).status in _LOST
            except JobNotFound:
                return True

    async def follow(self, job_id: str, writer: Writer, row: Row) -> None:
        """Wait until the job has completed. Raises `JobFailed`. Where this is interrupted, the job is cancelled."""
        async with self._ended_with_us(job_id), aclosing(self._client.jobs.events(job_id)) as events:
            async for event in events:
                if event.job is None:
                    await self._work.delivery.during(event, writer)
                    continue
                row.job(event.job)
                if event.job.status in _LOST:
                    raise failure(event.job)

    @asynccontextmanager
    async def _ended_with_us(self, job_id: str) -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            await self._cancel(job_id)
            raise

    async def _cancel(self, job_id: str) -> None:
        with suppress(AITBCError, TimeoutError):
            await asyncio.wait_for(self._client.jobs.cancel(job_id), CANCEL_SECONDS)
            self._on_cancelled(job_id)

    def _keep(self, note: Note) -> None:
        if self._work.remembered:
            self._notebook.keep(self._key, note)
