"""Following one job: its state first, then every change and everything that its runner tells, until it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from agent.coordinator.feed.feed import NUMBER_BITS
from agent.coordinator.feed.hub import Message
from agent.coordinator.operations.callers import Caller, Credential
from agent.coordinator.operations.checkpoints import outputs_so_far
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.operations.jobs.estimates import NO_ESTIMATES, estimates
from agent.coordinator.operations.jobs.jobs import JobView
from agent.coordinator.operations.streams import Audience, Stream, StreamType, Wanted, open_stream
from agent.coordinator.store import events as event_store
from agent.coordinator.store import jobs as store
from agent.coordinator.store.jobs import JobRecord
from agent.core.jobs import FINAL, JobState
from agent.core.values.quantities import format_time, parse_time

_TYPES: Final[frozenset[StreamType]] = frozenset({"job_update", "job_progress", "job_event"})
_CONSTANT: Final = ("job_id", "type", "service_id", "name", "created_at")
_RUN: Final = ("attempts", "started_at", "miner_id")


class Told(NamedTuple):
    """Something to tell. `seq` is what to go on after; None: the same as before."""

    name: str
    data: JobView
    seq: int | None = None


async def follow(
    context: Context,
    caller: Caller,
    secret: Credential | None,
    job_id: str,
    *,
    after: int | None,
    silence: float,
) -> AsyncGenerator[Told | None]:
    """What happens to a job: everything after a number, or first its state and outputs, and what its run has told so far.

    None comes once at the beginning, when all is well, and after every `silence` seconds without anything. Raises
    `JobNotFound`, what `open_stream` raises, and `Unauthorized` later when the key is revoked.
    """
    wanted = Wanted(types=_TYPES)
    async with open_stream(context, secret, wanted, Audience((job_id,), job_id=job_id)) as stream:
        job = _Followed(context, stream, await context.database.read(_look, caller, job_id))
        yield None
        if after is None:
            async for told in job.from_now():
                yield told
        elif job.ended and after >= job.seq:
            return
        else:
            stream.go_on_after(after)
        while not job.ended_here:
            message = await stream.next(silence)
            if message is None:
                yield None
            elif message["type"] == "resync":
                async for told in job.resync(message, caller):
                    yield told
            elif (news := await job.take(message)) is not None:
                yield news


@dataclass(frozen=True, slots=True)
class _Seen:
    """A job, and the number of its newest change of state."""

    record: JobRecord
    seq: int


def _look(connection: Connection, caller: Caller, job_id: str) -> _Seen:
    record = jobs.own(store.find(connection, job_id), caller, job_id)
    return _Seen(record, event_store.newest_of_job(connection, job_id, "job_update") << NUMBER_BITS)


class _Followed:
    """A job as its follower knows it. `ended_here`: the follower has been told of its end."""

    def __init__(self, context: Context, stream: Stream, seen: _Seen) -> None:
        self.ended_here = False
        self._context = context
        self._stream = stream
        self._progress = -1
        # Outputs with lower numbers were stored, and so told, before.
        self._outputs_from = 0
        self._see(seen)

    def _see(self, seen: _Seen) -> None:
        self._record = seen.record
        # A job from before there were numbers, or whose changes are kept no more, is followed from now on.
        self.seq = seen.seq or self._stream.position
        known = jobs.view(seen.record, NO_ESTIMATES, 0)
        self._constant = {name: known[name] for name in _CONSTANT}
        self._run: JobView = {name: known[name] for name in _RUN if name in known}

    @property
    def ended(self) -> bool:
        """Whether the job had ended when it was last looked at."""
        return self._record.life.state in FINAL

    async def from_now(self) -> AsyncIterator[Told]:
        """Its state and outputs; the stream goes on after them, with what its run had told already."""
        view = jobs.view(self._record, await estimates(self._context), self._context.clock())
        self._progress = view["progress"]
        yield Told("job_update", view, self.seq)
        self._stream.go_on_after(self.seq, quietly=True)
        async for told in self._outputs():
            yield told
        self.ended_here = self.ended

    async def _outputs(self) -> AsyncIterator[Told]:
        self._outputs_from = self._context.feed.seq
        for output in await outputs_so_far(self._context, self._record):
            yield Told("job_event", output)

    async def resync(self, message: Message, caller: Caller) -> AsyncIterator[Told]:
        """What was lost: outputs can be told again, and the state where changes of it are gone."""
        job_id = self._record.job_id
        yield Told("resync", {"job_id": job_id, **message["data"]}, message["seq"])
        if message["data"]["reason"] in ("pruned", "unknown"):
            self._see(await self._context.database.read(_look, caller, job_id))
            async for told in self.from_now():
                yield told
        else:
            async for told in self._outputs():
                yield told

    async def take(self, message: Message) -> Told | None:
        """What a message tells; None for what is known already."""
        data, seq = message["data"], message["seq"]
        if message["type"] == "job_update":
            self._progress = data["progress"]
            self._run = {name: data[name] for name in _RUN if name in data}
            self.ended_here = data["status"] in FINAL
            return Told("job_update", await self._state(data), seq)
        if message["type"] == "job_progress":
            if data["progress"] <= self._progress:
                return None
            self._progress = data["progress"]
            return Told("job_update", await self._state(data), seq)
        if data["kind"] == "output" and seq <= self._outputs_from:
            return None
        return Told("job_event", data, seq)

    async def _state(self, data: JobView) -> JobView:
        """The job's state as a message tells of it, in the form of `GET /v1/jobs/{job_id}`."""
        state: JobView = {**self._constant, **self._run, **data}
        expected, now = await estimates(self._context), self._context.clock()
        service, model = self._record.service, self._record.model
        if state["status"] == JobState.SUBMITTED:
            state["estimated_completion"] = format_time(expected.waiting_job(service, model, now))
        elif state["status"] == JobState.RUNNING:
            begun = parse_time(state["started_at"]) if "started_at" in state else now
            state["estimated_completion"] = format_time(expected.running_job(service, model, begun, now))
        else:
            state[f"{state['status']}_at"] = state["timestamp"]
        return state
