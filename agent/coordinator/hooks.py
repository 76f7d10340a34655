"""Where features take part in what the kernel does.

A hook runs in the kernel's transaction, in the order of the list of features, and changes only the feature's own tables. The kernel has
locked the jobs and accounts that a hook is about. An error of a hook undoes the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar, cast

from sqlalchemy import Select

from agent.coordinator.consequences import Change
from agent.coordinator.job_fields import FilterFields, Input, OptionFields
from agent.coordinator.store.database import Connection
from agent.coordinator.store.job_lists import Narrowing
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.ledger import TransactionKind
from agent.core.errors import ApiError
from agent.core.feasibility import KnownMiner, Situation
from agent.core.job_log import Line
from agent.core.jobs import FailRun, Release
from agent.core.market.ledger import JobSettlement
from agent.core.matching import NEUTRAL, UNRESTRICTED, Restrictions
from agent.core.waiting_reasons import WaitingReason
from agent.protocol.answers import Command
from agent.protocol.messages import Capabilities, Heartbeat, RunLog
from agent.settings.coordinator import CoordinatorSettings
from aitbc.statement import Statement
from runners.api import ServiceDefinition

if TYPE_CHECKING:  # hooks get it from use cases, and pass it on
    from agent.coordinator.operations.context import Context

K = TypeVar("K")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Returned: TypeAlias = FailRun | Release
"""How a miner ends its lease without a result."""
Ended = TypeVar("Ended", FailRun, Release)

Errors: TypeAlias = dict[str, str]
"""Validation errors, one sentence by dotted field. Checks add to it and continue, so that all errors are reported together."""
JobFields: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Fields and their values by job. Jobs without any may be missing."""
JobIds: TypeAlias = Select[str]
"""A query for the ids of jobs."""


@dataclass(frozen=True, slots=True)
class Surcharge:
    """What an option costs in addition to the job."""

    field: str
    """The option."""
    name: str
    """What it pays for, as the subject of a sentence."""
    percent: float
    """Of the job's price."""


@dataclass(frozen=True, slots=True)
class OpaqueInput:
    """Input that only the job's miner can read."""

    model: str | None
    files: Mapping[str, Any]
    """References to artifacts, by a name that says nothing about them."""
    specification: Mapping[str, Any]
    """The field of the job's specification that has the input: `agent.coordinator.store.jobs.OPAQUE`."""
    unprovable: str
    """Why no other miner can check the result."""


@dataclass(frozen=True, slots=True)
class AccountLimit:
    """How many jobs of an account may run at a time, and until when."""

    jobs: int
    until: float


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """What is known of a miner from its work."""

    reputation: float = NEUTRAL
    """From 0 to 5."""
    completed: int = 0
    failed: int = 0
    """Runs that failed by its fault."""
    refused: int = 0
    """Invalid results."""
    earned: int = 0


UNKNOWN: Final = TrackRecord()


@dataclass(frozen=True, slots=True)
class ReplacedInput:
    """The input of a job in fields of features, beside the fields that a service reads (`in_clear`)."""

    fields: Input
    in_clear: Mapping[str, Any]
    models: frozenset[str]
    """The models that miners have."""
    names_miner: bool


@dataclass(slots=True)
class CheckedRequest:
    """A request for a job. Hooks add to the last four fields. The options are valid, each by itself."""

    context: Context
    service: ServiceDefinition
    options: OptionFields
    parameters: Mapping[str, Any]
    """The service's input, unless there are errors about it."""
    errors: Errors
    replaced: ReplacedInput | None = None
    """Where the input is if it is not in the parameters."""
    opaque: OpaqueInput | None = None
    """The replaced input, as the feature has read it."""
    surcharges: list[Surcharge] = field(default_factory=list)
    """What options cost in addition. Their shares of `max_cost` are held."""
    restrictions: Restrictions = UNRESTRICTED

    @property
    def settings(self) -> CoordinatorSettings:
        """The coordinator's settings."""
        return self.context.settings


@dataclass(frozen=True, slots=True)
class NewJob:
    """A new job, and the options with which its client submitted it. A job of the coordinator's own has the default of each."""

    record: JobRecord
    options: OptionFields = field(default_factory=OptionFields)


class View(StrEnum):
    """What is shown of a job."""

    STATUS = "status"
    """The fields of `job_fields.StatusFields`. They are read with prepared statements only."""
    DETAILS = "details"
    """Those, and the fields of `job_fields.Details`."""
    OPTIONS = "options"
    """The options with which it can run again, as `job_fields.OptionFields` reads them from JSON."""


@dataclass(frozen=True, slots=True)
class ResultEvidence:
    """What a miner sends with a result for those who check it later."""

    values: Mapping[str, Any]
    canonical: str
    """The same as canonical JSON."""


@dataclass(frozen=True, slots=True)
class AcceptedResult:
    """A result of a job, with what its miner states about the run."""

    record: JobRecord
    """The job before it was completed."""
    statement: Statement
    evidence: ResultEvidence | None
    receipt_id: str
    leaf: bytes
    """What the log has of the receipt."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a feature does at each of these moments. Times are seconds since the epoch, money is in units of 1e-8."""

    check_request: Callable[[CheckedRequest], None] | None = None
    """A job is requested. Add what is wrong with the feature's fields, what they cost, and whom they exclude. There is no transaction yet."""
    job_refused: Callable[[Connection, Context, NewJob, Situation, ApiError], ApiError | None] | None = None
    """No known miner can ever run this new job. Return the error that refuses it, or None to accept it all the same."""
    admit_job: Callable[[Connection, Context, NewJob], JobRecord] | None = None
    """A new job is about to be stored. Return its row, with the miner that the feature's options choose and the price of their agreement.

    An `ApiError` refuses it, but none of the others of the transaction.
    """
    jobs_submitted: Callable[[Connection, Sequence[NewJob], float], None] | None = None
    """New jobs were stored, and the money for them is held. Store the feature's options. An `ApiError` refuses all of them."""
    jobs_changed: (
        Callable[[Connection, Sequence[Change], Mapping[str, JobSettlement], float], None] | None
    ) = None
    """Jobs were claimed, released, completed or ended otherwise, a result was refused, or clients are notified why their jobs wait. The settlements are those of ended jobs, by job."""
    describe_jobs: Callable[[Connection, Sequence[JobRecord], View], JobFields] | None = None
    """Jobs are shown: one, or a page of them. Return the feature's fields of this view."""
    filter_jobs: Callable[[CoordinatorSettings, FilterFields, str | None], Narrowing | None] | None = None
    """A list of an account's jobs, or with None of all jobs, is filtered. Return the feature's condition, if its filter is used.

    There is no transaction yet. An `ApiError` refuses the filter.
    """
    job_reasons: Callable[[Connection, JobRecord, float], Sequence[WaitingReason]] | None = None
    """Somebody asks why this job waits. Return what the feature knows of it."""
    describe_service: (
        Callable[[CoordinatorSettings, ServiceDefinition, Sequence[KnownMiner]], Mapping[str, Any]] | None
    ) = None
    """A service is shown, with all known miners. Return the feature's fields of `job_fields.ServiceFields`."""
    share_caches: Callable[[Connection, JobRecord, str], str | None] | None = None
    """A job is leased to this miner. Return under which name the run shares prompt caches with others, None: under its account's."""
    run_wrote: (
        Callable[[Connection, CoordinatorSettings, JobRecord, RunLog, float, bool], Sequence[Line]] | None
    ) = None
    """A job's run has written lines for its client, or ends (True) with all lines that it has written. The record is the job before that.

    Return those that who follows the job may see.
    """
    check_result: Callable[[Mapping[str, Any], Statement], Mapping[str, str]] | None = None
    """A result arrives. Return in what its statement contradicts the job's specification, by the name of the field."""
    results_accepted: Callable[[Connection, Context, Sequence[AcceptedResult], float], None] | None = None
    """Results of jobs were stored, with their receipts."""
    deletion_requested: Callable[[Connection, Context, JobIds, float], None] | None = None
    """A client deletes data of the ended jobs whose ids the query finds, or a file of them. Copy now what is needed of it."""
    jobs_retained: Callable[[Connection], set[str]] | None = None
    """Data of old jobs is deleted. Return the jobs whose data is still needed."""
    data_deleted: Callable[[Connection, Sequence[str]], None] | None = None
    """Everything that clients gave or got is deleted of these ended jobs."""
    lease_returned: Callable[[Connection, Context, JobRecord, Returned], Returned] | None = None
    """A miner reports that its run failed, or hands its lease back. Return the event, which may set `avoid_seconds` and `blamed`.

    The record is the job before that. If the miner no longer has the lease, an error of the kernel follows and undoes everything.
    """
    pauses: Callable[[Connection, float], Mapping[tuple[str, str], float]] | None = None
    """Miners are to get jobs. Return until when which of them get none, by miner and service, or `WHOLE` for all services."""
    track_records: Callable[[Connection, float, Sequence[str] | None], Mapping[str, TrackRecord]] | None = (
        None
    )
    """Miners are to get jobs or to be shown. Return the track records of these, or with None of all. Those of others are `UNKNOWN`."""
    account_limits: Callable[[Connection, CoordinatorSettings, float], Mapping[str, AccountLimit]] | None = (
        None
    )
    """Jobs are to be claimed. Return the accounts of which only a few jobs may run at a time."""
    heartbeat: Callable[[Connection, Context, str, Heartbeat], Sequence[Command]] | None = None
    """A heartbeat of this miner arrived. Return the commands for it. Its session is locked, and so are the jobs that it runs."""
    miner_changed: Callable[[Connection, Context, str, Capabilities | None], Mapping[str, Any]] | None = None
    """A miner has registered or reported these capabilities, or with None is removed. Its session is locked.

    Return the feature's fields of `job_fields.RemovalFields` for a removed one.
    """
    unfinished_uploads: Callable[[Connection, str], tuple[int, int]] | None = None
    """Space is counted. Return the number of unfinished uploads of this account, job or miner, and the bytes that they reserve."""
    known_blobs: Callable[[Connection, Sequence[str]], set[str]] | None = None
    """Blobs without a row are removed. Return those of these blobs that a row of the feature refers to."""
    money_booked: Callable[[Connection, TransactionKind, int, float], None] | None = None
    """An administrator's credit or debit of this amount was booked."""
    miner_money: Callable[[Connection, Context, str, int], Mapping[str, int]] | None = None
    """The earnings of a miner, with this balance, are shown. Return those amounts of `MinerMoney` that differ."""


WHOLE: Final = ""
"""The whole miner, instead of a service."""
NO_HOOKS: Final = Hooks()
_installed: list[Hooks] = []


def install(hooks: Iterable[Hooks]) -> None:
    """Have these hooks run from now on, in this order. The list of features calls it once."""
    _installed[:] = hooks


def _each(choose: Callable[[Hooks], Callable[P, R] | None]) -> Callable[P, list[R]]:
    """Return a function that runs this hook of every feature, in their order, and returns what each of them returns."""

    def run(*args: P.args, **kwargs: P.kwargs) -> list[R]:
        return [function(*args, **kwargs) for hooks in _installed if (function := choose(hooks)) is not None]

    return run


def _merged(choose: Callable[[Hooks], Callable[P, Mapping[K, T]] | None]) -> Callable[P, dict[K, T]]:
    """Return a function that runs this hook of every feature, and returns the fields of all."""
    call_each = _each(choose)

    def run(*args: P.args, **kwargs: P.kwargs) -> dict[K, T]:
        return {name: value for fields in call_each(*args, **kwargs) for name, value in fields.items()}

    return run


def _gathered(choose: Callable[[Hooks], Callable[P, Sequence[T]] | None]) -> Callable[P, list[T]]:
    """Return a function that runs this hook of every feature, and returns the items of all."""
    call_each = _each(choose)

    def run(*args: P.args, **kwargs: P.kwargs) -> list[T]:
        return [item for items in call_each(*args, **kwargs) for item in items]

    return run


check_request = _each(lambda hooks: hooks.check_request)
jobs_submitted = _each(lambda hooks: hooks.jobs_submitted)
jobs_changed = _each(lambda hooks: hooks.jobs_changed)
job_reasons = _gathered(lambda hooks: hooks.job_reasons)
filter_jobs = _each(lambda hooks: hooks.filter_jobs)
describe_service = _merged(lambda hooks: hooks.describe_service)
share_caches = _each(lambda hooks: hooks.share_caches)
run_wrote = _gathered(lambda hooks: hooks.run_wrote)
check_result = _merged(lambda hooks: hooks.check_result)
results_accepted = _each(lambda hooks: hooks.results_accepted)
deletion_requested = _each(lambda hooks: hooks.deletion_requested)
jobs_retained = _each(lambda hooks: hooks.jobs_retained)
data_deleted = _each(lambda hooks: hooks.data_deleted)
unfinished_uploads = _each(lambda hooks: hooks.unfinished_uploads)
known_blobs = _each(lambda hooks: hooks.known_blobs)
pauses = _merged(lambda hooks: hooks.pauses)
track_records = _merged(lambda hooks: hooks.track_records)
account_limits = _merged(lambda hooks: hooks.account_limits)
heartbeat = _gathered(lambda hooks: hooks.heartbeat)
miner_changed = _merged(lambda hooks: hooks.miner_changed)
money_booked = _each(lambda hooks: hooks.money_booked)
miner_money = _merged(lambda hooks: hooks.miner_money)


def admit_job(connection: Connection, context: Context, job: NewJob) -> JobRecord:
    """Run the hook of that name. Return the row as all features admit it."""
    for hooks in _installed:
        if hooks.admit_job is not None:
            job = replace(job, record=hooks.admit_job(connection, context, job))
    return job.record


def lease_returned(connection: Connection, context: Context, record: JobRecord, event: Ended) -> Ended:
    """Run the hook of that name. Return the event of all features."""
    for hooks in _installed:
        if hooks.lease_returned is not None:
            event = cast("Ended", hooks.lease_returned(connection, context, record, event))
    return event


def describe_jobs(
    connection: Connection, records: Sequence[JobRecord], view: View
) -> dict[str, dict[str, Any]]:
    """Run the hook of that name. Return the fields of all features for each of the jobs."""
    described: dict[str, dict[str, Any]] = {record.job_id: {} for record in records}
    for hooks in _installed:
        if hooks.describe_jobs is not None:
            for job_id, fields in hooks.describe_jobs(connection, records, view).items():
                described[job_id] |= fields
    return described


def job_refused(
    connection: Connection, context: Context, job: NewJob, situation: Situation, error: ApiError
) -> ApiError | None:
    """Run the hook of that name, with the error that the previous feature returned. Return the last one, or None."""
    refusal: ApiError | None = error
    for hooks in _installed:
        if hooks.job_refused is not None and refusal is not None:
            refusal = hooks.job_refused(connection, context, job, situation, refusal)
    return refusal
