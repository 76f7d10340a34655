"""Where features take part in what the kernel does.

A hook runs in the kernel's transaction, in the order of the list of features, and changes only the feature's own tables. The kernel has
locked the jobs and accounts that a hook is about. An error of a hook undoes the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar

from agent.coordinator.job_fields import OptionFields
from agent.core.matching import NEUTRAL, UNRESTRICTED, Restrictions

if TYPE_CHECKING:  # hooks get all of these from their callers
    from sqlalchemy import Select

    from agent.coordinator.consequences import Change
    from agent.coordinator.job_fields import FilterFields, Input
    from agent.coordinator.operations.context import Context
    from agent.coordinator.store.database import Connection
    from agent.coordinator.store.job_lists import Narrowing
    from agent.coordinator.store.jobs import JobRecord
    from agent.coordinator.store.ledger import TransactionKind
    from agent.core.errors import ApiError
    from agent.core.feasibility import KnownMiner, Situation
    from agent.core.jobs import FailRun, Release
    from agent.core.market.ledger import JobSettlement
    from agent.protocol.answers import Command
    from agent.protocol.messages import Capabilities, Heartbeat, RunLog
    from agent.settings.coordinator import CoordinatorSettings
    from aitbc.statement import Statement
    from runners.api import ServiceDefinition

K = TypeVar("K")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Errors: TypeAlias = dict[str, str]
"""Validation errors, one sentence by dotted field. Checks add to it and continue, so that all errors are reported together."""
JobFields: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Fields and their values by job. Jobs without any may be missing."""
JobIds: TypeAlias = "Select[str]"
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


@dataclass(slots=True)
class NewJob:
    """A new job, and the options with which its client submitted it. A job of the coordinator's own has the default of each."""

    record: JobRecord
    options: OptionFields = field(default_factory=OptionFields)


@dataclass(slots=True)
class Refusal:
    """Why a new job is refused. Hooks replace `error`."""

    job: NewJob
    situation: Situation
    error: ApiError | None


class View(StrEnum):
    """What is shown of a job."""

    STATUS = "status"
    """The fields of `job_fields.StatusFields`. They are read with prepared statements only."""
    DETAILS = "details"
    """Those, and the fields of `job_fields.Details`."""
    OPTIONS = "options"
    """The options with which it can run again, as `job_fields.OptionFields` reads them from JSON."""
    LEASE = "lease"
    """What decides its lease: under `caches`, the name under which the run shares prompt caches, if that is not its account's."""
    REASONS = "reasons"
    """Why it waits: a `WaitingReason` under a name of the feature's own."""


@dataclass(slots=True)
class RunReport:
    """What a miner reports of its run: lines, its end, or both. Hooks set the last three fields."""

    record: JobRecord
    """The job before the report."""
    now: float
    log: RunLog | None
    """New lines that the run has written for its client, or all of its lines if it ends."""
    ends: bool = False
    returned: FailRun | Release | None = None
    """How it ends without a result."""
    visible_lines: int = 0
    """How many of the lines can be seen now by who follows the job."""
    avoid_seconds: float = 0.0
    """For how long the miner does not get a job again that it releases."""
    blamed: bool = False
    """Whether it releases so many that this counts against it."""


@dataclass(slots=True)
class MinerReport:
    """A miner has registered, reports about itself, or is removed. Hooks add to the last two fields."""

    miner_id: str
    capabilities: Capabilities | None = None
    """The new ones, if they have changed."""
    heartbeat: Heartbeat | None = None
    removed: bool = False
    joins: bool = False
    """Whether it registers for the first time, or for the first time after it was removed."""
    commands: list[Command] = field(default_factory=list)
    """What the answer to a heartbeat has for it."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Those of `job_fields.RemovalFields` for a removed one."""


@dataclass(frozen=True, slots=True)
class Restraints:
    """Which miners and accounts get fewer jobs or none for a while."""

    pauses: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Until when miners get no jobs, by miner and service, or `WHOLE` for all services."""
    accounts: Mapping[str, AccountLimit] = field(default_factory=dict)
    """The accounts of which only a few jobs may run at a time."""


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
    job_refused: Callable[[Connection, Context, Refusal], None] | None = None
    """No known miner can ever run a new job. Replace the error that refuses it, with None to accept it all the same."""
    admit_job: Callable[[Connection, Context, NewJob], None] | None = None
    """A new job is about to be stored. Replace its row, with the miner that the feature's options choose and the price of their agreement.

    An `ApiError` refuses it, but none of the others of the transaction.
    """
    jobs_submitted: Callable[[Connection, Sequence[NewJob], float], None] | None = None
    """New jobs were stored, and the money for them is held. Store the feature's options. An `ApiError` refuses all of them."""
    jobs_changed: (
        Callable[[Connection, Sequence[Change], Mapping[str, JobSettlement], float], None] | None
    ) = None
    """Jobs were claimed, released, completed or ended otherwise, a result was refused, or clients are notified why their jobs wait. The settlements are those of ended jobs, by job."""
    describe_jobs: Callable[[Connection, Sequence[JobRecord], View], JobFields] | None = None
    """Jobs are shown: one, or a page of them, or leased. Return the feature's fields of this view, and quickly none of the others."""
    filter_jobs: Callable[[CoordinatorSettings, FilterFields, str | None], Narrowing | None] | None = None
    """A list of an account's jobs, or with None of all jobs, is filtered. Return the feature's condition, if its filter is used.

    There is no transaction yet. An `ApiError` refuses the filter.
    """
    describe_service: (
        Callable[[CoordinatorSettings, ServiceDefinition, Sequence[KnownMiner]], Mapping[str, Any]] | None
    ) = None
    """A service is shown, with all known miners. Return the feature's fields of `job_fields.ServiceFields`."""
    run_reported: Callable[[Connection, Context, RunReport], None] | None = None
    """A miner reports of its run. Store the lines, and what the end says about the miner or the client.

    If the miner no longer has the lease, an error of the kernel follows and undoes everything.
    """
    results_accepted: Callable[[Connection, Context, Sequence[AcceptedResult], float], None] | None = None
    """Results of jobs were stored, with their receipts. An `ApiError` refuses all of them; the kernel then tries each alone."""
    retain: Callable[[Connection, Context, JobIds | None, float], set[str]] | None = None
    """A client deletes data of the ended jobs whose ids the query finds, or a file of them: copy now what is needed of it.

    With None, data of old jobs is deleted. Return the jobs whose data is still needed; it is retained until the next time.
    """
    data_deleted: Callable[[Connection, Sequence[str]], None] | None = None
    """Everything that clients gave or got is deleted of these ended jobs."""
    restraints: Callable[[Connection, CoordinatorSettings, float], Restraints] | None = None
    """Jobs are to be claimed, or miners and accounts are shown. Return which of them get fewer at present."""
    track_records: Callable[[Connection, float, Sequence[str] | None], Mapping[str, TrackRecord]] | None = (
        None
    )
    """Miners are to get jobs or to be shown. Return the track records of these, or with None of all. Those of others are `UNKNOWN`."""
    miner_reported: Callable[[Connection, Context, MinerReport], None] | None = None
    """A miner has registered, reports about itself, or is removed. Its session is locked, and with a heartbeat also the jobs that it runs.

    An `ApiError` refuses a registration.
    """
    unfinished_uploads: Callable[[Connection, str], tuple[int, int]] | None = None
    """Space is counted. Return the number of unfinished uploads of this account, job or miner, and the bytes that they reserve."""
    money_booked: Callable[[Connection, TransactionKind, int, float], None] | None = None
    """An administrator's credit or debit of this amount was booked."""
    miner_money: Callable[[Connection, Context, str, int], Mapping[str, int]] | None = None
    """The earnings of a miner, with this balance, are shown. Return those amounts of `MinerMoney` that differ."""


WHOLE: Final = ""
"""The whole miner, instead of a service."""
NO_HOOKS: Final = Hooks()
_selections: list[Callable[[Sequence[Hooks]], None]] = []


def install(hooks: Iterable[Hooks]) -> None:
    """Have these hooks run from now on, in this order. The list of features calls it once."""
    installed = list(hooks)
    for select in _selections:
        select(installed)


def _each(choose: Callable[[Hooks], Callable[P, R] | None]) -> Callable[P, list[R]]:
    """Return a function that runs this hook of every feature, in their order, and returns what each of them returns."""
    functions: list[Callable[P, R]] = []

    def select(installed: Sequence[Hooks]) -> None:
        functions[:] = [function for hooks in installed if (function := choose(hooks)) is not None]

    def run(*args: P.args, **kwargs: P.kwargs) -> list[R]:
        return [function(*args, **kwargs) for function in functions]

    _selections.append(select)
    return run


def _merged(choose: Callable[[Hooks], Callable[P, Mapping[K, T]] | None]) -> Callable[P, dict[K, T]]:
    """Return a function that runs this hook of every feature, and returns the fields of all."""
    call_each = _each(choose)

    def run(*args: P.args, **kwargs: P.kwargs) -> dict[K, T]:
        return {name: value for fields in call_each(*args, **kwargs) for name, value in fields.items()}

    return run


check_request = _each(lambda hooks: hooks.check_request)
job_refused = _each(lambda hooks: hooks.job_refused)
admit_job = _each(lambda hooks: hooks.admit_job)
jobs_submitted = _each(lambda hooks: hooks.jobs_submitted)
jobs_changed = _each(lambda hooks: hooks.jobs_changed)
filter_jobs = _each(lambda hooks: hooks.filter_jobs)
describe_service = _merged(lambda hooks: hooks.describe_service)
run_reported = _each(lambda hooks: hooks.run_reported)
results_accepted = _each(lambda hooks: hooks.results_accepted)
retain = _each(lambda hooks: hooks.retain)
data_deleted = _each(lambda hooks: hooks.data_deleted)
track_records = _merged(lambda hooks: hooks.track_records)
miner_reported = _each(lambda hooks: hooks.miner_reported)
unfinished_uploads = _each(lambda hooks: hooks.unfinished_uploads)
money_booked = _each(lambda hooks: hooks.money_booked)
miner_money = _merged(lambda hooks: hooks.miner_money)
_describe_jobs = _each(lambda hooks: hooks.describe_jobs)
_restraints = _each(lambda hooks: hooks.restraints)


def describe_jobs(
    connection: Connection, records: Sequence[JobRecord], view: View
) -> dict[str, dict[str, Any]]:
    """Run the hook of that name. Return the fields of all features for each of the jobs."""
    described: dict[str, dict[str, Any]] = {record.job_id: {} for record in records}
    for fields_by_job in _describe_jobs(connection, records, view):
        for job_id, fields in fields_by_job.items():
            described[job_id] |= fields
    return described


def restraints(connection: Connection, settings: CoordinatorSettings, now: float) -> Restraints:
    """Run the hook of that name. Return the restraints of all features."""
    restraints_of_all = _restraints(connection, settings, now)
    return Restraints(
        dict(pair for restraint in restraints_of_all for pair in restraint.pauses.items()),
        dict(pair for restraint in restraints_of_all for pair in restraint.accounts.items()),
    )
