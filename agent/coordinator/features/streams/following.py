"""Following one job: its state, then every change and every event of its runner, until it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from agent.coordinator import job_fields
from agent.coordinator.features.streams.streams import (
    Audience,
    Filter,
    MessageStream,
    StreamType,
    open_stream,
)
from agent.coordinator.feed.feed import NUMBER_BITS
from agent.coordinator.feed.hub import Message
from agent.coordinator.operations.answers import JobStatus
from agent.coordinator.operations.callers import Caller, Credential
from agent.coordinator.operations.checkpoints import outputs_so_far
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import feasibility, own_jobs
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.supply import fleet
from agent.coordinator.store import events
from agent.coordinator.store.jobs import JobRecord
from agent.core.jobs import FINAL, JobState
from agent.core.values.quantities import format_time, parse_time

_TYPES: Final[frozenset[StreamType]] = frozenset({"job_update", "job_progress", "job_event"})
_CONSTANT: Final = (
    "job_id",
    "type",
    "service_id",
    "name",
    "created_at",
    "max_attempts",
    "account_id",
    *job_fields.StatusFields.model_fields,
)
_RUN: Final = ("attempts", "started_at", "miner_id")


Data = dict[str, Any]


class Update(NamedTuple):
    """An update for the follower. `seq` is the number after which the follower can resume; None: as before."""

    name: str
    data: Data
    seq: int | None = None


async def follow(
    context: Context,
    caller: Caller,
    secret: Credential | None,
    job_id: str,
    *,
    after_seq: int | None,
    silence: float,
) -> AsyncGenerator[Update | None]:
    """Yield the updates of a job after a number; without a number, its state and outputs, then its run's events so far.

    Yield None first, if there is no error, and after every `silence` seconds without an update. Raises
    `JobNotFound`, what `open_stream` raises, and `Unauthorized` later if the key is revoked.
    """
    audience = Audience((job_id,), job_id=job_id)
    async with open_stream(context, secret, Filter(types=_TYPES), audience) as stream:
        job = _Followed(context, stream, await context.database.read(_snapshot, caller, job_id))
        yield None
        if after_seq is None:
            async for update in job.from_now():
                yield update
        elif job.ended and after_seq >= job.seq:
            return
        else:
            stream.resume_after(after_seq)
        while not job.end_sent:
            message = await stream.next(silence)
            if message is None:
                yield None
            elif message["type"] == "resync":
                async for update in job.resync(message, caller):
                    yield update
            elif (news := await job.update_of(message)) is not None:
                yield news


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A job with the features' fields of answers about it, and the number of its newest change of state."""

    record: JobRecord
    fields: Data
    seq: int


def _snapshot(connection: Connection, caller: Caller, job_id: str) -> _Snapshot:
    record, fields = own_jobs.read(connection, caller, job_id)
    return _Snapshot(record, fields, events.newest_of_job(connection, job_id, "job_update") << NUMBER_BITS)


class _Followed:
    """A job as its follower knows it. `end_sent`: the follower has received its end."""

    def __init__(self, context: Context, stream: MessageStream, snapshot: _Snapshot) -> None:
        self.end_sent = False
        self._context = context
        self._stream = stream
        self._progress = -1
        # Outputs with lower numbers were stored before the outputs were read, and so have been sent.
        self._outputs_from = 0
        self._refresh(snapshot)

    def _refresh(self, snapshot: _Snapshot) -> None:
        self._record, self._fields = snapshot.record, snapshot.fields
        # A job that is older than these numbers, or whose changes have been deleted, is followed from now on.
        self.seq = snapshot.seq or self._stream.position
        view = _data(own_jobs.view(snapshot.record, snapshot.fields, None, 0))
        self._constant: Data = {name: view[name] for name in _CONSTANT if name in view}
        self._run: Data = {name: view[name] for name in _RUN if name in view}

    @property
    def ended(self) -> bool:
        """Whether the job had ended when it was last read."""
        return self._record.life.state in FINAL

    async def from_now(self) -> AsyncIterator[Update]:
        """Yield its state and outputs. The stream then continues with its run's events, recent ones included."""
        expected = await own_jobs.estimates_for(self._context, self._record)
        status = own_jobs.view(self._record, self._fields, expected, self._context.clock())
        self._progress = status.progress
        moment = self._record.life.finished_at or self._context.clock()
        yield Update("job_update", _data(status) | {"timestamp": format_time(moment)}, self.seq)
        self._stream.resume_after(self.seq, quietly=True)
        async for update in self._outputs():
            yield update
        self.end_sent = self.ended

    async def _outputs(self) -> AsyncIterator[Update]:
        self._outputs_from = self._context.feed.seq
        for output in await outputs_so_far(self._context, self._record):
            yield Update("job_event", output)

    async def resync(self, message: Message, caller: Caller) -> AsyncIterator[Update]:
        """Yield the gap and the data that can be sent again: the outputs, and the state if changes of it were lost."""
        job_id = self._record.job_id
        yield Update("resync", {"job_id": job_id, **message["data"]}, message["seq"])
        if message["data"]["reason"] in ("pruned", "unknown"):
            self._refresh(await self._context.database.read(_snapshot, caller, job_id))
            async for update in self.from_now():
                yield update
        else:
            async for update in self._outputs():
                yield update

    async def update_of(self, message: Message) -> Update | None:
        """Return the update for a message; None if the follower knows it."""
        data, seq = message["data"], message["seq"]
        if message["type"] == "job_update":
            self._progress = data["progress"]
            self._run = {name: data[name] for name in _RUN if name in data}
            self.end_sent = data["status"] in FINAL
            return Update("job_update", await self._state(data), seq)
        if message["type"] == "job_progress":
            if data["progress"] <= self._progress:
                return None
            self._progress = data["progress"]
            return Update("job_update", await self._state(data), seq)
        if data["kind"] == "output" and seq <= self._outputs_from:
            return None
        return Update("job_event", data, seq)

    async def _state(self, data: Data) -> Data:
        """Return the job's state from a message's data, in the form of `GET /v1/jobs/{job_id}`."""
        state: Data = {**self._constant, **self._run, **data}
        expected, now = await estimates(self._context), self._context.clock()
        service, model = self._record.service, self._record.model
        if state["status"] == JobState.SUBMITTED:
            if feasibility.runnable(self._context, await fleet(self._context), self._record):
                state["estimated_completion"] = format_time(expected.waiting_job(service, model, now))
        elif state["status"] == JobState.RUNNING:
            begun = parse_time(state["started_at"]) if "started_at" in state else now
            state["estimated_completion"] = format_time(expected.running_job(service, model, begun, now))
        else:
            state[f"{state['status']}_at"] = state["timestamp"]
        return state


def _data(status: JobStatus) -> Data:
    return status.model_dump(exclude_none=True)
