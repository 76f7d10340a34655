"""Sees works through: some at a time, each at most once, and after Ctrl-C none goes on at the client's cost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from secrets import token_hex

from aitbc._client import AsyncAITBCClient
from aitbc.cli._display import Board, Row
from aitbc.cli._exits import concerns_all, explain
from aitbc.cli._notebook import Note, Notebook
from aitbc.cli._output import encoded
from aitbc.cli._submission import Submission
from aitbc.cli._work import Outcome, Work, Writer
from aitbc.errors import AITBCError, JobFailed
from aitbc.models import JobResults

_NAMED_FILES = 3
"""Outputs of one work that are named in its line; of more, only the number."""


class Engine:
    """Performs works with one client. `cancelled` are the jobs that an interruption has ended."""

    def __init__(
        self, client: AsyncAITBCClient, notebook: Notebook, board: Board, *, force: bool = False
    ) -> None:
        self.cancelled: list[str] = []
        self._client = client
        self._notebook = notebook
        self._board = board
        self._force = force
        self._stopped = False
        self._turns: dict[str, asyncio.Lock] = {}

    async def run(self, works: Sequence[Work], at_once: int) -> list[Outcome]:
        """What came of each work, in order. A failure ends only its own work, unless all others would fail alike."""
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

    async def _perform(self, work: Work) -> Outcome:
        row = self._board.row(work.label)
        try:
            key = await asyncio.to_thread(work.key) if work.remembered else token_hex(32)
            # Two files with the same content are one work; the second takes what the first has made.
            async with self._turns.setdefault(key, asyncio.Lock()):
                return await self._see_through(work, key, row)
        except (AITBCError, OSError) as error:
            self._stopped = self._stopped or concerns_all(error)
            row.told(f"failed: {explain(error)}")
            job_id = error.job_id if isinstance(error, JobFailed) else None
            return Outcome(work.label, "failed", job_id, error=error)
        finally:
            row.end()

    async def _see_through(self, work: Work, key: str, row: Row) -> Outcome:
        note = self._notebook.note(key) if work.remembered else None
        if note is not None and self._is_done(work, key, note):
            if not self._force:
                row.told("done before")
                return Outcome(work.label, "skipped", note.job_id, work.places)
            note = note.again()
        writer = Writer(self._client, self._notebook, key, row.told, force=self._force)
        work.delivery.check(writer)
        submission = Submission(self._client, self._notebook, work, key, self.cancelled.append)
        job_id = await submission.job(note, row)
        await submission.follow(job_id, writer, row)
        answer = await self._client.jobs.get_results(job_id)
        await self._deliver(work, key, answer, writer)
        _tell(row, writer)
        return Outcome(work.label, "done", job_id, tuple(writer.written), answer)

    def _is_done(self, work: Work, key: str, note: Note) -> bool:
        """Whether all outputs are there. What has none, but is printed, is done again only by force."""
        if not work.places:
            return self._force
        return all(self._notebook.is_complete(key, note, place) for place in work.places)

    async def _deliver(self, work: Work, key: str, answer: JobResults, writer: Writer) -> None:
        await work.delivery.after(answer, writer)
        if work.receipt is not None:
            bundle = await self._client.receipts.export(answer.job_id)
            await writer.write(work.receipt, encoded(bundle))
        note = self._notebook.note(key)
        if work.remembered and note is not None:
            for place in work.places:
                note = note.with_place(place, [path for path in writer.written if path.is_relative_to(place)])
            self._notebook.keep(key, note)


def _tell(row: Row, writer: Writer) -> None:
    if 0 < len(writer.written) <= _NAMED_FILES:
        row.told(f"wrote {', '.join(map(str, writer.written))}")
    elif writer.written:
        row.told(f"wrote {len(writer.written)} files to {writer.written[0].parent}")
