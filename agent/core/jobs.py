"""The life of a job: one table of the events that are legal in each state.

`apply(job, event)` returns the changed job and the effects that the caller carries out in the same transaction. An illegal
event raises `IllegalEvent` and changes nothing. A job runs at least once and completes exactly once: only the newest fence
can complete it, and only from a state that is not final.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from runners.errors import FailureCode


class JobState(StrEnum):
    """The state of a job. The last three are final."""

    SUBMITTED = "submitted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


DEADLINE_GRACE_SECONDS: Final = 30.0
"""The miner ends a run at its deadline. No lease is extended, and no units are counted, later than this after the deadline."""

RETRY_SECONDS: Final = 2.0
"""How long a job avoids the miner that failed it, so that other miners go first. Doubles with each attempt."""

FINAL: Final = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Lease:
    """A miner's time-limited right to run a job. Times are seconds since the epoch.

    The lease of a `submitted` job has expired, but no miner has claimed the job since, so its result is still accepted.
    """

    miner_id: str
    session: int
    fence: int
    assigned_at: float
    expires_at: float
    deadline: float

    @property
    def last_moment(self) -> float:
        """The latest time to which the lease can be extended, and until which its run can meter units."""
        return self.deadline + DEADLINE_GRACE_SECONDS

    def extended(self, now: float, lease_seconds: float) -> Lease:
        """Return the lease after a sign of life: it never becomes shorter, and never extends beyond its last moment."""
        return replace(self, expires_at=max(self.expires_at, min(now + lease_seconds, self.last_moment)))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run or a job failed: a code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """The part of a job that events change.

    `avoid_miner_id` is the miner that failed it last. That miner does not get the job again before `avoid_until`.
    """

    job_id: str
    state: JobState
    timeout_seconds: float
    max_attempts: int
    attempts: int = 0
    fence: int = 0
    lease: Lease | None = None
    started_at: float | None = None
    finished_at: float | None = None
    failure: Failure | None = None
    avoid_miner_id: str | None = None
    avoid_until: float | None = None


class Outcome(StrEnum):
    """How one run of a job ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    EXPIRED = "expired"
    RELEASED = "released"
    CANCELLED = "cancelled"


# Events ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """A miner claims the job."""

    miner_id: str
    session: int
    now: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Renew:
    """The miner reports that it is still working on the job."""

    miner_id: str
    fence: int
    session: int
    now: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Keep:
    """The miner's new session keeps the lease, because a finished result is still to be delivered."""

    miner_id: str
    fence: int
    session: int
    now: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Complete:
    """The miner delivers the result."""

    miner_id: str
    fence: int
    now: float


@dataclass(frozen=True, slots=True)
class FailRun:
    """The run failed. With `retry`, the machine caused it and the job may run again; without, the client did and the job fails.

    With `retry` but not `elsewhere`, no machine can run the job, which therefore fails immediately.
    """

    miner_id: str
    fence: int
    now: float
    failure: Failure
    retry: bool
    elsewhere: bool = True


@dataclass(frozen=True, slots=True)
class Release:
    """The miner hands the lease back without having failed. The attempt does not count.

    The same miner does not get the job again for `avoid_seconds`. `blamed`: it hands back too many.
    """

    miner_id: str
    fence: int
    now: float
    avoid_seconds: float = 0.0
    blamed: bool = False


@dataclass(frozen=True, slots=True)
class Expire:
    """The lease expired or its session ended. `forget` also refuses a late result, which a new session cannot deliver."""

    now: float
    reason: str
    forget: bool = False


@dataclass(frozen=True, slots=True)
class Abandon:
    """The job cannot run at all, e.g. because its files were never uploaded."""

    now: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client cancels the job."""

    now: float


Event = Claim | Renew | Keep | Complete | FailRun | Release | Expire | Abandon | Cancel

# Effects -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, and its lease with it. `blamed`: that counts against the miner, although the run did not fail."""

    lease: Lease
    outcome: Outcome
    failure: Failure | None = None
    blamed: bool = False


@dataclass(frozen=True, slots=True)
class Requeued:
    """The job waits for a miner again."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The job has reached a final state."""


@dataclass(frozen=True, slots=True)
class ResultRefused:
    """The miner has delivered an invalid result, which changes nothing of the job. No event has this effect."""

    lease: Lease


Effect = RunEnded | Requeued | Finished | ResultRefused


class IllegalEvent(Exception):
    """The event is illegal in the job's state. Nothing has changed. `stale`: the event names a lease that is not the newest."""

    def __init__(self, job: Job, event: Event, *, stale: bool = False) -> None:
        super().__init__(f"{type(event).__name__} does not fit job {job.job_id}, which is {job.state}")
        self.job = job
        self.event = event
        self.stale = stale


Transition = tuple[Job, tuple[Effect, ...]]


def apply(job: Job, event: Event) -> Transition:
    """Return the job after the event, and the effects. Raises `IllegalEvent`."""
    # What is missing in the table is illegal. An event of a miner is then stale: its lease may have ended while it was on its way.
    handler = _TABLE.get((job.state, type(event)))
    if handler is None:
        raise IllegalEvent(job, event, stale=isinstance(event, Renew | Keep | Complete | FailRun | Release))
    return handler(job, event)


def _lease_of(job: Job, event: Renew | Keep | Complete | FailRun | Release) -> Lease:
    lease = job.lease
    if lease is None or (lease.miner_id, lease.fence) != (event.miner_id, event.fence):
        raise IllegalEvent(job, event, stale=True)
    return lease


def _claim(job: Job, event: Claim) -> Transition:
    # Every lease has a higher fence than all before it, so a message for an older one is recognised, however late it is.
    fence = job.fence + 1
    lease = Lease(
        miner_id=event.miner_id,
        session=event.session,
        fence=fence,
        assigned_at=event.now,
        expires_at=event.now + event.lease_seconds,
        deadline=event.now + job.timeout_seconds,
    )
    return replace(
        job, state=JobState.RUNNING, lease=lease, fence=fence, attempts=job.attempts + 1, started_at=event.now
    ), ()


def _renew(job: Job, event: Renew) -> Transition:
    lease = _lease_of(job, event)
    # A process that was replaced by a newer one of the same miner must not keep the lease alive.
    if lease.session != event.session:
        raise IllegalEvent(job, event, stale=True)
    return replace(job, lease=lease.extended(event.now, event.lease_seconds)), ()


def _revive(job: Job, event: Renew) -> Transition:
    # The lease expired while the miner was unreachable, and no other miner claimed the job: the run continues.
    revived, _ = _renew(job, event)
    if _is_over(revived, event.now):
        raise IllegalEvent(job, event, stale=True)
    return _alive(revived), ()


def _keep(job: Job, event: Keep) -> Transition:
    # Revives an expired lease. After its last moment, a finished result is still accepted until another miner claims the job,
    # but the job becomes claimable.
    lease = _lease_of(job, event)
    extended = lease.extended(event.now, event.lease_seconds)
    carried = replace(job, lease=replace(extended, session=event.session))
    if job.state is JobState.SUBMITTED and not _is_over(carried, event.now):
        return _alive(carried), ()
    return carried, ()


def _is_over(job: Job, now: float) -> bool:
    """Return whether the job's lease has expired even after its extension."""
    return job.lease is None or job.lease.expires_at <= now


def _alive(job: Job) -> Job:
    """Return the job as if its lease had not expired."""
    started_at = job.lease.assigned_at if job.lease else None
    return replace(job, state=JobState.RUNNING, started_at=started_at, failure=None, avoid_miner_id=None)


def _complete(job: Job, event: Complete) -> Transition:
    lease = _lease_of(job, event)
    completed_job = replace(
        job,
        state=JobState.COMPLETED,
        lease=None,
        started_at=lease.assigned_at,
        finished_at=event.now,
        failure=None,
    )
    return completed_job, (RunEnded(lease, Outcome.COMPLETED), Finished())


def _fail(job: Job, event: FailRun) -> Transition:
    lease = _lease_of(job, event)
    # Another attempt would fail in the same way, so the client learns of it now.
    if event.retry and not event.elsewhere:
        return _finish_failed(job, event.failure, event.now, RunEnded(lease, Outcome.RETRIED, event.failure))
    if event.retry:
        back, effects = _end_run(job, lease, Outcome.RETRIED, event.failure, event.now)
        if back.state is JobState.SUBMITTED:
            # The pause doubles with each attempt. A fault of all machines, such as a server that is down, would otherwise use them up in seconds.
            back = replace(back, avoid_until=event.now + RETRY_SECONDS * 2 ** (job.attempts - 1))
        return back, effects
    return _finish_failed(job, event.failure, event.now, RunEnded(lease, Outcome.FAILED, event.failure))


def _fail_late(job: Job, event: FailRun) -> Transition:
    # The run was already counted when its lease expired. A failure that the client caused ends the job, as it does in time.
    lease = _lease_of(job, event)
    if event.retry:
        return replace(job, lease=None, avoid_miner_id=lease.miner_id), ()
    return _finish_failed(job, event.failure, event.now, RunEnded(lease, Outcome.FAILED, event.failure))


def _release(job: Job, event: Release) -> Transition:
    lease = _lease_of(job, event)
    back = replace(
        job,
        state=JobState.SUBMITTED,
        lease=None,
        # The machine was stopped or paused by its owner, which says nothing about the job.
        attempts=job.attempts - 1,
        started_at=None,
        avoid_miner_id=lease.miner_id if event.avoid_seconds else job.avoid_miner_id,
        avoid_until=event.now + event.avoid_seconds if event.avoid_seconds else job.avoid_until,
    )
    return back, (RunEnded(lease, Outcome.RELEASED, blamed=event.blamed), Requeued())


def _forget(job: Job, event: Release) -> Transition:
    _lease_of(job, event)
    return replace(job, lease=None), ()


def _expire(job: Job, event: Expire) -> Transition:
    lease = job.lease
    if lease is None:
        raise IllegalEvent(job, event)
    failure = Failure(FailureCode.LEASE_EXPIRED, event.reason)
    ended, effects = _end_run(job, lease, Outcome.EXPIRED, failure, event.now)
    # The lease stays readable in a waiting job: its miner may only have lost its connection, and still deliver the result.
    keep = None if event.forget or ended.state in FINAL else lease
    return replace(ended, lease=keep), effects


def _expire_late(job: Job, event: Expire) -> Transition:
    return (replace(job, lease=None) if event.forget else job), ()


def _end_run(job: Job, lease: Lease, outcome: Outcome, failure: Failure, now: float) -> Transition:
    ended = RunEnded(lease, outcome, failure)
    # A job that breaks every machine must end, or it would go round for ever.
    if job.attempts >= job.max_attempts:
        exhausted = Failure(
            failure.code, f"{failure.message.removesuffix('.')} (tried {job.attempts} times)."
        )
        return _finish_failed(job, exhausted, now, ended)
    back = replace(
        job,
        state=JobState.SUBMITTED,
        lease=None,
        started_at=None,
        failure=failure,
        # The miner on which it just failed comes last, since another machine may not have the fault.
        avoid_miner_id=lease.miner_id,
        avoid_until=None,
    )
    return back, (ended, Requeued())


def _finish_failed(job: Job, failure: Failure, now: float, *earlier_effects: Effect) -> Transition:
    failed = replace(job, state=JobState.FAILED, lease=None, finished_at=now, failure=failure)
    return failed, (*earlier_effects, Finished())


def _abandon(job: Job, event: Abandon) -> Transition:
    return _finish_failed(job, event.failure, event.now)


def _cancel_waiting(job: Job, event: Cancel) -> Transition:
    return replace(job, state=JobState.CANCELLED, lease=None, finished_at=event.now, failure=None), (
        Finished(),
    )


def _cancel_running(job: Job, event: Cancel) -> Transition:
    lease = job.lease
    if lease is None:
        raise IllegalEvent(job, event)
    cancelled, effects = _cancel_waiting(job, event)
    return cancelled, (RunEnded(lease, Outcome.CANCELLED), *effects)


_TABLE: Final[dict[tuple[JobState, type[Event]], Callable[[Job, Any], Transition]]] = {
    (JobState.SUBMITTED, Claim): _claim,
    (JobState.SUBMITTED, Renew): _revive,
    (JobState.SUBMITTED, Keep): _keep,
    (JobState.SUBMITTED, Complete): _complete,
    (JobState.SUBMITTED, FailRun): _fail_late,
    (JobState.SUBMITTED, Release): _forget,
    (JobState.SUBMITTED, Expire): _expire_late,
    (JobState.SUBMITTED, Abandon): _abandon,
    (JobState.SUBMITTED, Cancel): _cancel_waiting,
    (JobState.RUNNING, Renew): _renew,
    (JobState.RUNNING, Keep): _keep,
    (JobState.RUNNING, Complete): _complete,
    (JobState.RUNNING, FailRun): _fail,
    (JobState.RUNNING, Release): _release,
    (JobState.RUNNING, Expire): _expire,
    (JobState.RUNNING, Cancel): _cancel_running,
}
