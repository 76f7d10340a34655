"""Works a batch off: its lines become requests of its account, a few at the same time.

Answers are collected and stored as parts. A crash loses those since the last part: their lines are sent again with the same
idempotency keys, so they find the jobs that exist, and nothing runs or is paid twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from agent.coordinator.features.batches import store
from agent.coordinator.features.batches.fields import TERMS
from agent.coordinator.features.batches.lines import RequestLine, lines_of, read_line
from agent.coordinator.features.batches.middleware import BatchSender
from agent.coordinator.features.batches.settings import BatchSettings
from agent.coordinator.features.batches.states import BatchStatus
from agent.coordinator.features.batches.store import AnswersPart, ApiBatch
from agent.coordinator.features.batches.terms import terms_of
from agent.coordinator.features.batches.validation import longest_line
from agent.coordinator.http.in_process import OwnAnswer
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import quota
from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.store import artifacts, idempotency, jobs, ledger
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import JobAlreadyCompleted
from agent.core.jobs import JobState
from agent.core.market.ledger import escrow
from agent.fault_points import reach
from agent.sections import section_of
from aitbc.answers.accounts import Role

LOOK_SECONDS: Final = 1.0
"""Pause between two looks at the state of the batch."""
PART_SECONDS: Final = 5.0
PART_BYTES: Final = 4 * 2**20
PART_LINES: Final = 200
"""A part is stored when it is so old, or has so many bytes or lines."""
CANCEL_SECONDS: Final = 600.0
"""How long the running jobs of a cancelled batch may go on, for which the client pays anyway."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
OUTPUT: Final = b"+"
ERROR: Final = b"-"
"""What a line in a part begins with, which says to which file it belongs."""
SITE_OVERLOADED: Final = 529
"""Anthropic's status for 503."""
_TRY_AGAIN: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        # The job goes on, and the same key waits for it.
        HTTPStatus.GATEWAY_TIMEOUT,
        SITE_OVERLOADED,
    }
)


def caller_of(batch: ApiBatch) -> Caller:
    """Return the caller of the batch's requests: its account."""
    return Caller(Role.CLIENT, account_id=batch.account_id, name=batch.batch_id, key_id=batch.key_id)


@dataclass(frozen=True, slots=True)
class _Answered:
    line: int
    text: bytes
    is_output: bool


class BatchRun:
    """One worker's run of a batch in progress. Call `run` once."""

    def __init__(self, context: Context, batch: ApiBatch, file: ArtifactRecord) -> None:
        self._context = context
        self._batch = batch
        self._file = file
        self._caller = caller_of(batch)
        self._application = context.part(BatchSender).application
        self._answers: list[_Answered] = []
        self._part_since = context.clock()
        self._storing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._sent: set[int] = set()
        self._stop = asyncio.Event()

    async def run(self) -> ApiBatch:
        """Send the lines that have no answer yet, until all have one, or the batch is cancelled or expires. Raises `TakenOver`."""
        parts = await self._context.database.read(store.parts_of, self._batch.batch_id)
        answered = {number for part in parts for number in part.lines}
        lines = self._unanswered(answered)
        count = section_of(self._context.settings, BatchSettings).batch_jobs
        senders = {
            asyncio.create_task(self._send_lines(lines), name=f"{self._batch.batch_id}-{number}")
            for number in range(count)
        }
        try:
            await self._follow(senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
            await lines.aclose()
        await self._store_part()
        return await self._context.database.write(_finalize, self._batch, self._context.clock())

    async def _follow(self, senders: set[asyncio.Task[None]]) -> None:
        """Return when all senders have ended, or were given up."""
        pending, stopped_at = senders, 0.0
        while pending:
            ended, pending = await asyncio.wait(
                pending, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for sender in ended:
                sender.result()
            now = self._context.clock()
            if now - self._part_since >= PART_SECONDS:
                await self._store_part()
            batch = await self._context.database.read(store.find_batch, self._batch.batch_id)
            if batch is None or batch.turn != self._batch.turn:
                raise store.TakenOver
            expired = now >= batch.expires_at
            if expired or batch.status is BatchStatus.CANCELLING:
                stopped_at = stopped_at or now
                self._stop.set()
                ends_all = expired or now >= stopped_at + CANCEL_SECONDS
                for number in list(self._sent):
                    await self._cancel_job(number, running=ends_all)

    async def _unanswered(self, answered: set[int]) -> AsyncGenerator[RequestLine]:
        longest, max_values = longest_line(self._context.settings), self._context.settings.max_request_values
        async for number, text in lines_of(self._context, self._file, longest):
            if number not in answered:
                yield read_line(number, text, self._batch.endpoint, max_values)

    async def _send_lines(self, lines: AsyncIterator[RequestLine]) -> None:
        TERMS.set(terms_of(self._context.settings))
        while not self._stop.is_set():
            async with self._reading:
                line = await anext(lines, None)
            if line is None:
                return
            self._sent.add(line.number)
            answer = await self._answer(line)
            self._sent.discard(line.number)
            if answer is None:
                return
            self._answers.append(_answered(self._batch, line, answer))
            size = sum(len(answered.text) for answered in self._answers)
            if size >= PART_BYTES or len(self._answers) >= PART_LINES:
                await self._store_part()

    async def _answer(self, line: RequestLine) -> OwnAnswer | None:
        """Return the final answer to a line; None if the batch has stopped before there was one."""
        pause = FIRST_PAUSE
        while True:
            key = self._key(line.number)
            answer = await self._application.post(self._caller, self._batch.endpoint, line.body, key)
            final = answer.status not in _TRY_AGAIN and not await self._is_short_of_money(answer)
            if self._stop.is_set():
                # What has ended in time counts; an error may only say that the job was cancelled here.
                return answer if answer.status < HTTPStatus.BAD_REQUEST else None
            if final:
                return answer
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _is_short_of_money(self, answer: OwnAnswer) -> bool:
        """Return whether a line lacks money that other jobs of the account hold, and may give back."""
        if answer.status != HTTPStatus.PAYMENT_REQUIRED:
            return False
        return await self._context.database.read(ledger.balance, escrow(self._batch.account_id)) > 0

    def _key(self, number: int) -> str:
        return f"{self._batch.batch_id}:{number}"

    async def _cancel_job(self, number: int, *, running: bool) -> None:
        """Cancel the job of a line, if it has one. One that runs goes on, unless those end as well."""
        job = await self._context.database.read(_job_of, self._batch.account_id, self._key(number))
        if job is not None and (running or job[1] is JobState.SUBMITTED):
            with suppress(JobAlreadyCompleted):
                await own_jobs.cancel(self._context, self._caller, job[0])

    async def _store_part(self) -> None:
        async with self._storing:
            answers, self._answers = self._answers, []
            self._part_since = self._context.clock()
            if not answers:
                return
            try:
                await self._store(answers)
            except BaseException:
                self._answers = answers + self._answers
                raise
            reach("batch.part_stored")

    async def _store(self, answers: list[_Answered]) -> None:
        async def content() -> AsyncIterator[bytes]:
            for answered in answers:
                yield (OUTPUT if answered.is_output else ERROR) + answered.text + b"\n"

        # Without a quota: these bytes come from jobs, and the file that they end in counts.
        async with quota.receiving(self._context, (), content(), None) as stored:
            record = ArtifactRecord(stored.artifact_id, stored.size, "application/jsonl", blob=stored.name)
            await self._context.database.write(_add_part, self._batch, record, answers, self._context.clock())


def _answered(batch: ApiBatch, line: RequestLine, answer: OwnAnswer) -> _Answered:
    """Return the line of the results."""
    is_json = answer.headers.get("content-type", "").partition(";")[0] == "application/json"
    if is_json:
        # As it is, since to decode and encode it would take long. An encoder may put line feeds between values.
        body = answer.body if b"\n" not in answer.body else json.dumps(json.loads(answer.body)).encode()
        response = b'{"status_code":%d,"request_id":%b,"body":%b}' % (
            answer.status,
            json.dumps(answer.request_id).encode(),
            body,
        )
        error = None
    else:
        response = b"null"
        error = {
            "code": "unsupported_answer",
            "message": "The answer is not JSON, so it cannot be a line of a file.",
        }
    text = result_line(batch, line.number, line.custom_id, response, error)
    return _Answered(line.number, text, is_json and answer.status < HTTPStatus.BAD_REQUEST)


def result_line(
    batch: ApiBatch, number: int, custom_id: str, response: bytes, error: dict[str, str] | None
) -> bytes:
    """Return a line of a file of results. `response` is JSON."""
    name = batch.batch_id.partition("_")[2]
    return b'{"id":"batch_req_%b_%d","custom_id":%b,"response":%b,"error":%b}' % (
        name.encode(),
        number,
        json.dumps(custom_id).encode(),
        response,
        json.dumps(error).encode(),
    )


def _add_part(
    connection: Connection, batch: ApiBatch, record: ArtifactRecord, answers: list[_Answered], now: float
) -> None:
    current = store.own(connection, batch)
    completed = sum(answered.is_output for answered in answers)
    failed = len(answers) - completed
    artifacts.add(connection, record, batch.batch_id, now)
    store.add_part(
        connection, batch.batch_id, AnswersPart(record.artifact_id, [answered.line for answered in answers])
    )
    store.save(connection, current, completed=current.completed + completed, failed=current.failed + failed)


def _finalize(connection: Connection, batch: ApiBatch, now: float) -> ApiBatch:
    return store.enter(connection, store.own(connection, batch), BatchStatus.FINALIZING, now)


def _job_of(connection: Connection, account_id: str, key: str) -> tuple[str, JobState] | None:
    """Return the job that a request with this key created, with its state."""
    first = idempotency.find(connection, account_id, key)
    record = None if first is None else jobs.find(connection, json.loads(first[1])["job_id"])
    return None if record is None else (record.job_id, record.life.state)
