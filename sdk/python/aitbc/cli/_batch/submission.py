"""Creates exactly one job for a work, even if the program is killed between the request and recording the response.

Each attempt is recorded on disk before it is submitted, with an idempotency key that follows from the work and the attempt. After a
crash, the next run submits the same request and gets the same job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from aitbc import errors
from aitbc._calls.jobs import failure
from aitbc._client import AsyncAITBCClient
from aitbc.answers.jobs import Job, JobEvent
from aitbc.cli._arguments.option_names import with_options_named
from aitbc.cli._batch.journal import Entry, Journal
from aitbc.cli._batch.patience import JobPatience
from aitbc.cli._batch.work import ANY_JOB, BatchWork, Writer, idempotency_key
from aitbc.cli._terminal.display import WorkRow
from aitbc.errors import AITBCError, APIError, InternalError, JobNotFound, TransportError

CANCEL_SECONDS = 10.0
"""The longest that Ctrl-C waits for the coordinator to cancel a job, or to return the id of a job that it is creating."""
_LOST = frozenset({"failed", "cancelled"})


class Uploads:
    """The files of a batch: works that use the same file share one upload."""

    def __init__(self, client: AsyncAITBCClient) -> None:
        self._client = client
        self._turns: dict[Path, asyncio.Lock] = {}
        self._addresses: dict[Path, str] = {}

    async def address(self, path: Path, row: WorkRow) -> str:
        """Return the address of a file's artifact, after its upload."""
        async with self._turns.setdefault(path, asyncio.Lock()):
            if path not in self._addresses:
                artifact = await self._client.artifacts.upload(path, progress=row.uploading)
                self._addresses[path] = artifact.address
            return self._addresses[path]


class JobSubmission:
    """The job of one work. `on_cancelled` is called with the id of a job that was cancelled because its task was."""

    def __init__(
        self,
        client: AsyncAITBCClient,
        journal: Journal,
        uploads: Uploads,
        work: BatchWork,
        key: str,
        on_cancelled: Callable[[str], None],
    ) -> None:
        self._client = client
        self._journal = journal
        self._uploads = uploads
        self._work = work
        self._key = key
        self._on_cancelled = on_cancelled

    async def job(self, entry: Entry | None, row: WorkRow) -> str:
        """Return the id of the work's job: the recorded one, unless it failed or was cancelled, else a new one."""
        is_recorded = entry is not None
        entry = entry or Entry()
        while True:
            if entry.job_id is None:
                entry = await self._created(entry, row)
            if entry.job_id is None:  # the attempt of an earlier run was refused
                continue
            if not is_recorded or not await self._is_lost(entry.job_id):
                return entry.job_id
            entry, is_recorded = entry.next_attempt(), False

    async def _created(self, entry: Entry, row: WorkRow) -> Entry:
        resumed = entry.body is not None
        if entry.body is None:
            entry = replace(entry, body=await self._body(row))
            # Before the request leaves: if the program dies now, the next run sends the same body under the same key.
            self._save(entry)
        try:
            job = await self._posted(entry)
        except InternalError:
            raise  # the job may exist; a retry with the same key finds it
        except APIError:
            entry = entry.next_attempt()
            self._save(entry)
            if resumed:
                return entry
            raise
        row.job(job)
        entry = replace(entry, job_id=job.job_id)
        self._save(entry)
        await self._report_wait(job, row)
        return entry

    async def _report_wait(self, job: Job, row: WorkRow) -> None:
        """Print immediately why a job waits that no miner can take now. Such a job has no estimate."""
        if job.status != "submitted" or job.estimated_completion is not None:
            return
        with suppress(AITBCError):  # the job goes on without the explanation
            explanation = await self._client.jobs.explain(job.job_id)
            if explanation.reasons:
                row.report(
                    with_options_named(f"waiting: {explanation.summary} {explanation.reasons[0].action}")
                )

    async def _body(self, row: WorkRow) -> dict[str, Any]:
        work = self._work
        if work.seal is None:
            # One after the other, since several uploads at once share the same line.
            addresses = {name: await self._uploads.address(path, row) for name, path in work.files.items()}
            return work.complete_body(addresses)
        return await self._client.jobs.seal(work.job_body, dict(work.files), miner_id=work.seal)

    async def _posted(self, entry: Entry) -> Job:
        """Create the job. If the task is cancelled meanwhile, the job is cancelled as soon as its id is known."""
        key, body = idempotency_key(self._journal.identity(), self._key, entry.attempt), entry.body or {}
        if self._work.route == ANY_JOB or self._work.seal is not None:
            creating = asyncio.ensure_future(self._client.jobs.create(body, idempotency_key=key))
        else:
            call = self._client.services.call(self._work.route, body, idempotency_key=key)
            creating = asyncio.ensure_future(call)
        try:
            # Shielded, because a request that is broken off may still create a job, whose id nobody would know.
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            with suppress(AITBCError, TimeoutError):
                job = await asyncio.wait_for(creating, CANCEL_SECONDS)
                await self._cancel(job.job_id)
            raise

    async def _is_lost(self, job_id: str) -> bool:
        async with self._cancelled_with_task(job_id):
            try:
                return (await self._client.jobs.get(job_id)).status in _LOST
            except JobNotFound:
                return True

    async def follow(self, job_id: str, writer: Writer, row: WorkRow, patience: JobPatience) -> None:
        """Wait until the job has completed. If the task is cancelled meanwhile, the job is cancelled. Raises `JobFailed`."""
        last: int | None = None
        async with self._cancelled_with_task(job_id):
            while True:
                try:
                    async with aclosing(self._client.jobs.events(job_id, after=last)) as events:
                        async for event in events:
                            patience.responded()
                            # Saved here too, as each new call of `events` begins a stream of its own.
                            last = last if event.seq is None else event.seq
                            await self._handle(event, writer, row)
                except (TransportError, errors.TimeoutError, APIError) as error:
                    await patience.wait(error)
                else:
                    return

    async def _handle(self, event: JobEvent, writer: Writer, row: WorkRow) -> None:
        if event.job is None:
            await self._work.delivery.during(event, writer)
            return
        row.job(event.job)
        if event.job.status in _LOST:
            raise failure(event.job)

    @asynccontextmanager
    async def _cancelled_with_task(self, job_id: str) -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            await self._cancel(job_id)
            raise

    async def _cancel(self, job_id: str) -> None:
        with suppress(AITBCError, TimeoutError):
            await asyncio.wait_for(self._client.jobs.cancel(job_id), CANCEL_SECONDS)
            self._on_cancelled(job_id)

    def _save(self, entry: Entry) -> None:
        if self._work.resumable:
            self._journal.save(self._key, entry)
