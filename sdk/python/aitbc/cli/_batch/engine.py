"""Performs works: several at a time and each at most once. After Ctrl-C, no job continues at the client's cost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from secrets import token_hex

from aitbc._client import AsyncAITBCClient
from aitbc.answers.jobs import JobResults
from aitbc.cli._batch.journal import Entry, Journal
from aitbc.cli._batch.patience import JobPatience
from aitbc.cli._batch.submission import JobSubmission, Uploads
from aitbc.cli._batch.work import BatchWork, Outcome, Writer
from aitbc.cli._terminal.display import Board, WorkRow
from aitbc.cli._terminal.exits import ends_batch, explain
from aitbc.cli._terminal.output import encoded
from aitbc.errors import AITBCError, JobFailed

_NAMED_FILES = 3
"""Most outputs of one work that its line names; for more, it states their number."""


class Engine:
    """Performs works with one client. With `detach`, it only submits them. `cancelled` lists the jobs that were cancelled because of an interruption."""

    def __init__(
        self,
        client: AsyncAITBCClient,
        journal: Journal,
        board: Board,
        *,
        force: bool = False,
        detach: bool = False,
    ) -> None:
        self.cancelled: list[str] = []
        self._client = client
        self._journal = journal
        self._uploads = Uploads(client)
        self._board = board
        self._force = force
        self._detach = detach
        self._stopped = False
        self._single = False
        self._turns: dict[str, asyncio.Lock] = {}

    async def run(self, works: Sequence[BatchWork], at_once: int) -> list[Outcome]:
        """Return the outcome of each work, in order. A failure ends the batch only if every other work would fail for the same reason."""
        self._single = len(works) == 1
        # What is not performed keeps this outcome, so that the report has all works.
        outcomes = [Outcome(work.label, "left") for work in works]
        waiting = deque(enumerate(works))

        async def perform_waiting() -> None:
            while waiting and not self._stopped:
                position, work = waiting.popleft()
                outcomes[position] = await self._perform(work)
                self._board.advance()

        async with asyncio.TaskGroup() as group:
            for number in range(min(at_once, len(works))):
                group.create_task(perform_waiting(), name=f"works {number}")
        return outcomes

    async def _perform(self, work: BatchWork) -> Outcome:
        row = self._board.row(work.label)
        try:
            key = await asyncio.to_thread(work.key) if work.resumable else token_hex(32)
            # Two files with the same content are the same work, so the second one reuses the first one's job.
            async with self._turns.setdefault(key, asyncio.Lock()):
                return await self._complete(work, key, row)
        except (AITBCError, OSError) as error:
            # Without money or a key, each further work would only fail in the same way.
            self._stopped = self._stopped or ends_batch(error)
            if not self._single:  # the only error is printed at the end
                row.report(f"failed: {explain(error)}")
            job_id = error.job_id if isinstance(error, JobFailed) else None
            return Outcome(work.label, "failed", job_id, error=error)
        finally:
            row.end()

    async def _complete(self, work: BatchWork, key: str, row: WorkRow) -> Outcome:
        entry = self._journal.entry(key) if work.resumable else None
        if entry is not None and self._is_done(work, key, entry):
            if not self._force:
                row.report("already done")
                return Outcome(work.label, "skipped", entry.job_id, work.targets)
            # The number of the attempt is part of the idempotency key, so this creates a new job.
            entry = entry.next_attempt()
        writer = Writer(self._client, self._journal, key, row.report, force=self._force)
        # Before the job is submitted: a result that cannot be written would still cost money.
        work.delivery.check(writer)
        submission = JobSubmission(
            self._client, self._journal, self._uploads, work, key, self.cancelled.append
        )
        job_id = await submission.job(entry, row)
        if self._detach:
            return Outcome(work.label, "submitted", job_id)
        patience = JobPatience(job_id, row, _how_to_resume(work, job_id))
        await submission.follow(job_id, writer, row, patience)
        answer = await patience.call(lambda: self._client.jobs.get_results(job_id))
        if work.seal is not None and answer.caution is not None:
            row.report(answer.caution)
        # Files that arrived before a break are not fetched again, so the whole delivery can be repeated.
        await patience.call(lambda: self._deliver(work, key, answer, writer))
        _report_outputs(row, writer)
        return Outcome(work.label, "done", job_id, tuple(writer.written), answer)

    def _is_done(self, work: BatchWork, key: str, entry: Entry) -> bool:
        """Return whether all outputs exist. A work that only prints its result has none; its stored job is reused unless `force` is set."""
        if not work.targets:
            return self._force
        return all(self._journal.is_complete(key, entry, target) for target in work.targets)

    async def _deliver(self, work: BatchWork, key: str, answer: JobResults, writer: Writer) -> None:
        await work.delivery.after(answer, writer)
        if work.receipt is not None:
            bundle = await self._client.receipts.export(answer.job_id)
            await writer.write(work.receipt, encoded(bundle))
        entry = self._journal.entry(key)
        if work.resumable and entry is not None:
            for target in work.targets:
                entry = entry.with_target(
                    target, [path for path in writer.written if path.is_relative_to(target)]
                )
            # Last, after all outputs exist: a command that was killed before delivers again.
            self._journal.save(key, entry)


def _how_to_resume(work: BatchWork, job_id: str) -> str:
    if work.resumable:
        return "Run the same command later to get its results."
    return f"`aitbc jobs results {job_id} -o DIR` gets its results later."


def _report_outputs(row: WorkRow, writer: Writer) -> None:
    paths = [path for path in writer.written if path not in writer.reported]
    if 0 < len(paths) <= _NAMED_FILES:
        row.report(f"wrote {', '.join(map(str, paths))}")
    elif paths:
        row.report(f"wrote {len(paths)} files to {paths[0].parent}")
