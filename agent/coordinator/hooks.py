"""Where features take part in what the kernel does.

A hook runs in the kernel's transaction, in the order of the list of features, and changes only the feature's own tables. The kernel has
locked the jobs and accounts that a hook is about. An error of a hook undoes the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import Select

from agent.coordinator.consequences import Change
from agent.coordinator.job_fields import FilterFields, Input, OptionFields
from agent.coordinator.store.database import Connection
from agent.coordinator.store.job_lists import Narrowing
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.ledger import Kind
from agent.core.errors import ApiError
from agent.core.feasibility import KnownMiner, Situation
from agent.core.job_log import Line
from agent.core.jobs import FailRun, Release
from agent.core.market.ledger import Settlement
from agent.core.matching import Restrictions
from agent.core.reasons import Reason
from agent.metrics import Metric, Values
from agent.protocol.answers import Command
from agent.protocol.messages import Capabilities, Heartbeat, RunLog
from agent.settings import CoordinatorSettings
from aitbc.statement import Statement
from runners.api import ServiceDefinition

if TYPE_CHECKING:  # hooks get it from use cases, and pass it on
    from agent.coordinator.operations.context import Context

Find: TypeAlias = Callable[[str, str, str], None]
"""Reports a problem of the data: its kind, its position, and a description."""
Gauges: TypeAlias = Mapping[Metric, Values]
Returned: TypeAlias = FailRun | Release
"""How a miner ends its lease without a result."""
Ended = TypeVar("Ended", FailRun, Release)
JobIds: TypeAlias = Select[str]
"""A query for the ids of jobs."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to which anybody may hold the coordinator, such as a receipt. It is `derived` if its bytes can be made again from rows."""

    reference: str
    content: bytes
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a miner sends with a result for those who check it later."""

    values: Mapping[str, Any]
    canonical: str
    """The same as canonical JSON."""


@dataclass(frozen=True, slots=True)
class AcceptedResult:
    """A result of a job, with what its miner states about the run. `record` is the job before it was completed."""

    record: JobRecord
    statement: Statement
    evidence: Evidence | None


Errors: TypeAlias = dict[str, str]
"""Validation errors, one sentence by dotted field. Checks add to it and continue, so that all errors are reported together."""
JobFields: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Fields and their values by job. Jobs without any may be missing."""


@dataclass(frozen=True, slots=True)
class RequestedJob:
    """A request for a job. Its options are valid, each by itself; `parameters` are the service's input, unless there are errors about it."""

    settings: CoordinatorSettings
    service: ServiceDefinition
    parameters: Mapping[str, Any]
    options: OptionFields
    opaque: OpaqueInput | None = None
    """The input in place of the parameters, if only the job's miner can read it."""


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
class RequestedInput:
    """The input of a requested job: `fields` of features, and those that a service reads (`in_clear`). `models` are those that miners have."""

    service: ServiceDefinition
    fields: Input
    in_clear: Mapping[str, Any]
    models: frozenset[str]
    names_miner: bool


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
class NewJob:
    """A new job, and the options with which its client submitted it. A job of the coordinator's own has the default of each."""

    record: JobRecord
    options: OptionFields = field(default_factory=OptionFields)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a feature does at each of these moments. Times are seconds since the epoch, money is in units of 1e-8."""

    read_input: Callable[[Context, RequestedInput, Errors], OpaqueInput | None] | None = None
    """A whole job is requested. Return the input if it is in a field of the feature, and add what is wrong with it. There is no transaction yet."""
    check_options: Callable[[RequestedJob, Errors], None] | None = None
    """A job is requested. Add what is wrong with the feature's options, by the name of the field. There is no transaction yet."""
    surcharge: Callable[[RequestedJob], Surcharge | None] | None = None
    """A job is requested. Return what the feature's option costs in addition, None if it is not used. Its share of `max_cost` is held."""
    restrict: Callable[[RequestedJob, Restrictions], Restrictions] | None = None
    """A valid job is requested. Return these restrictions with what the feature's options add."""
    describe_service: (
        Callable[[CoordinatorSettings, ServiceDefinition, Sequence[KnownMiner]], Mapping[str, Any]] | None
    ) = None
    """A service is shown, with all known miners. Return the feature's fields of `job_fields.ServiceFields`."""
    job_refused: Callable[[Connection, Context, NewJob, Situation, ApiError], ApiError | None] | None = None
    """No known miner can ever run this new job. Return the error that refuses it, or None to accept it all the same."""
    admit_job: Callable[[Connection, Context, NewJob], JobRecord] | None = None
    """A new job is about to be stored. Return its row, with the miner that the feature's options choose and the price of their agreement.

    An `ApiError` refuses it, but none of the others of the transaction.
    """
    jobs_submitted: Callable[[Connection, Sequence[NewJob], float], None] | None = None
    """New jobs were stored, and the money for them is held. Store the feature's options. An `ApiError` refuses all of them."""
    describe_jobs: Callable[[Connection, Sequence[str]], JobFields] | None = None
    """Jobs are shown: one, or a page of them. Return the feature's fields of `job_fields.StatusFields`, with prepared statements only."""
    options_of: Callable[[Connection, Sequence[str]], JobFields] | None = None
    """Jobs are to run again. Return the feature's options of them, as `job_fields.OptionFields` reads them from JSON."""
    narrow: Callable[[CoordinatorSettings, FilterFields, str | None], Narrowing | None] | None = None
    """A list of an account's jobs, or with None of all jobs, is filtered. Return the feature's condition, if its filter is used.

    There is no transaction yet. An `ApiError` refuses the filter.
    """
    jobs_changed: Callable[[Connection, Sequence[Change], Mapping[str, Settlement], float], None] | None = (
        None
    )
    """Jobs were claimed, released, completed or ended otherwise. The settlements are those of ended jobs, by job."""
    job_reasons: Callable[[Connection, JobRecord, float], Sequence[Reason]] | None = None
    """Somebody asks why this job waits. Return what the feature knows of it."""
    job_waits: Callable[[Connection, JobRecord, Sequence[str], float], None] | None = None
    """A client is notified for the first time that its job waits, with the codes of the reasons."""
    unfinished_uploads: Callable[[Connection, str], tuple[int, int]] | None = None
    """Space is counted. Return the number of unfinished uploads of this account, job or miner, and the bytes that they reserve."""
    known_blobs: Callable[[Connection, Sequence[str]], set[str]] | None = None
    """Blobs without a row are removed. Return those of these blobs that a row of the feature refers to."""
    run_wrote: (
        Callable[[Connection, CoordinatorSettings, JobRecord, RunLog, float], Sequence[Line]] | None
    ) = None
    """A job's run has written lines for its client. Return those that who follows the job may see."""
    run_ends: Callable[[Connection, CoordinatorSettings, JobRecord, RunLog, float], None] | None = None
    """A job's run ends, with all lines that it has written. The record is the job before that."""
    caches_of: Callable[[Connection, JobRecord, str], str | None] | None = None
    """A job is leased to this miner. Return under which name the run shares prompt caches with others, None: under its account's."""
    check_result: Callable[[Mapping[str, Any], Statement], Mapping[str, str]] | None = None
    """A result arrives. Return in what its statement contradicts the job's specification, by the name of the field."""
    results_accepted: Callable[[Connection, Context, Sequence[AcceptedResult], float], None] | None = None
    """Results of jobs were stored, with their receipts."""
    describe_details: Callable[[Connection, JobRecord], Mapping[str, Any]] | None = None
    """A client reads one job. Return the feature's fields of `job_fields.Details`."""
    deletion_requested: Callable[[Connection, Context, JobIds, float], None] | None = None
    """A client deletes data of the ended jobs whose ids the query finds, or a file of them. Copy now what is needed of it."""
    jobs_retained: Callable[[Connection], set[str]] | None = None
    """Data of old jobs is deleted. Return the jobs whose data is still needed."""
    publish: Callable[[Connection, Sequence[Fact]], None] | None = None
    """Facts were stored that must never change: receipts, and those of features."""
    data_deleted: Callable[[Connection, Sequence[str]], None] | None = None
    """Everything that clients gave or got is deleted of these ended jobs."""
    lease_returned: Callable[[Connection, Context, JobRecord, Returned], Returned] | None = None
    """A miner reports that its run failed, or hands its lease back. Return the event, which may set `avoid_seconds`.

    The record is the job before that. If the miner no longer has the lease, an error of the kernel follows and undoes everything.
    """
    pauses: Callable[[Connection, float], Mapping[tuple[str, str], float]] | None = None
    """Miners are to get jobs. Return until when which of them get none, by miner and service, or `WHOLE` for all services."""
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
    money_booked: Callable[[Connection, Kind, int, float], None] | None = None
    """An administrator's credit or debit of this amount was booked."""
    miner_money: (
        Callable[[Connection, Mapping[type[Any], Any], str, int, float], Mapping[str, int]] | None
    ) = None
    """The earnings of a miner, with this balance, are shown. Return those amounts of `MinerMoney` that differ. The mapping has the parts."""
    examine: Callable[[Connection, str, Find], tuple[str, int]] | None = None
    """`aitbc-agent fsck` reads everything. Return what was examined (a plural noun) and how many. The text is the log's origin."""
    read_gauges: Callable[[Connection, Context, float], Gauges] | None = None
    """The metrics are read. Return the feature's metrics that are declared with `read`."""
    check_health: Callable[[Connection, Context], Mapping[str, bool]] | None = None
    """The health is checked. Return which parts of it, those of `Feature.health`, are well."""


WHOLE: Final = ""
"""The whole miner, instead of a service."""
NO_HOOKS: Final = Hooks()
_installed: list[Hooks] = []


def install(hooks: Iterable[Hooks]) -> None:
    """Have these hooks run from now on, in this order. The list of features calls it once."""
    _installed[:] = hooks


def read_input(context: Context, request: RequestedInput, errors: Errors) -> OpaqueInput | None:
    """Run the hook of that name. Return the input of the first feature that has one."""
    for hooks in _installed:
        if (
            hooks.read_input is not None
            and (opaque := hooks.read_input(context, request, errors)) is not None
        ):
            return opaque
    return None


def check_options(request: RequestedJob, errors: Errors) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.check_options is not None:
            hooks.check_options(request, errors)


def admit_job(connection: Connection, context: Context, job: NewJob) -> JobRecord:
    """Run the hook of that name. Return the row as all features admit it."""
    for hooks in _installed:
        if hooks.admit_job is not None:
            job = replace(job, record=hooks.admit_job(connection, context, job))
    return job.record


def surcharges(request: RequestedJob) -> list[Surcharge]:
    """Run the hook `surcharge`. Return those of all features."""
    all_surcharges = [hooks.surcharge(request) for hooks in _installed if hooks.surcharge is not None]
    return [surcharge for surcharge in all_surcharges if surcharge is not None]


def restrict(request: RequestedJob, restrictions: Restrictions) -> Restrictions:
    """Run the hook of that name. Return the restrictions of all features."""
    for hooks in _installed:
        if hooks.restrict is not None:
            restrictions = hooks.restrict(request, restrictions)
    return restrictions


def describe_service(
    settings: CoordinatorSettings, service: ServiceDefinition, miners: Sequence[KnownMiner]
) -> dict[str, Any]:
    """Run the hook of that name. Return the fields of all features."""
    fields: dict[str, Any] = {}
    for hooks in _installed:
        if hooks.describe_service is not None:
            fields |= hooks.describe_service(settings, service, miners)
    return fields


def jobs_submitted(connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.jobs_submitted is not None:
            hooks.jobs_submitted(connection, jobs, now)


def describe_jobs(connection: Connection, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run the hook of that name. Return the fields of all features for each of the jobs."""
    return _fields(connection, job_ids, (hooks.describe_jobs for hooks in _installed))


def options_of(connection: Connection, job_id: str) -> dict[str, Any]:
    """Run the hook of that name for one job. Return its options of all features."""
    return _fields(connection, (job_id,), (hooks.options_of for hooks in _installed))[job_id]


def _fields(
    connection: Connection,
    job_ids: Sequence[str],
    functions: Iterable[Callable[[Connection, Sequence[str]], JobFields] | None],
) -> dict[str, dict[str, Any]]:
    fields: dict[str, dict[str, Any]] = {job_id: {} for job_id in job_ids}
    for function in functions:
        if function is not None:
            for job_id, values in function(connection, job_ids).items():
                fields[job_id] |= values
    return fields


def narrow(
    settings: CoordinatorSettings, filters: FilterFields, account_id: str | None
) -> tuple[Narrowing, ...]:
    """Run the hook of that name. Return the conditions of those filters that are used."""
    narrowings = (
        hooks.narrow(settings, filters, account_id) for hooks in _installed if hooks.narrow is not None
    )
    return tuple(narrowing for narrowing in narrowings if narrowing is not None)


def job_refused(
    connection: Connection, context: Context, job: NewJob, situation: Situation, error: ApiError
) -> ApiError | None:
    """Run the hook of that name, with the error that the previous feature returned. Return the last one, or None."""
    refusal: ApiError | None = error
    for hooks in _installed:
        if hooks.job_refused is not None and refusal is not None:
            refusal = hooks.job_refused(connection, context, job, situation, refusal)
    return refusal


def jobs_changed(
    connection: Connection, changes: Sequence[Change], settlements: Mapping[str, Settlement], now: float
) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.jobs_changed is not None:
            hooks.jobs_changed(connection, changes, settlements, now)


def job_reasons(connection: Connection, record: JobRecord, now: float) -> list[Reason]:
    """Run the hook of that name. Return the reasons of all features."""
    return [
        reason
        for hooks in _installed
        if hooks.job_reasons is not None
        for reason in hooks.job_reasons(connection, record, now)
    ]


def job_waits(connection: Connection, record: JobRecord, codes: Sequence[str], now: float) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.job_waits is not None:
            hooks.job_waits(connection, record, codes, now)


def unfinished_uploads(connection: Connection, owner: str) -> tuple[int, int]:
    """Run the hook of that name. Return the sums of all features."""
    count = size = 0
    for hooks in _installed:
        if hooks.unfinished_uploads is not None:
            of_feature = hooks.unfinished_uploads(connection, owner)
            count, size = count + of_feature[0], size + of_feature[1]
    return count, size


def known_blobs(connection: Connection, names: Sequence[str]) -> set[str]:
    """Run the hook of that name. Return the blobs of all features."""
    return set().union(
        *(hooks.known_blobs(connection, names) for hooks in _installed if hooks.known_blobs is not None)
    )


def caches_of(connection: Connection, record: JobRecord, miner_id: str) -> str:
    """Run the hook of that name. Return the first feature's name, or else the job's account."""
    for hooks in _installed:
        if (
            hooks.caches_of is not None
            and (owner := hooks.caches_of(connection, record, miner_id)) is not None
        ):
            return owner
    return record.account_id


def check_result(specification: Mapping[str, Any], statement: Statement) -> dict[str, str]:
    """Run the hook of that name. Return the errors of all features."""
    errors: dict[str, str] = {}
    for hooks in _installed:
        if hooks.check_result is not None:
            errors |= hooks.check_result(specification, statement)
    return errors


def results_accepted(
    connection: Connection, context: Context, results: Sequence[AcceptedResult], now: float
) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.results_accepted is not None:
            hooks.results_accepted(connection, context, results, now)


def describe_details(connection: Connection, record: JobRecord) -> dict[str, Any]:
    """Run the hook of that name. Return the fields of all features."""
    fields: dict[str, Any] = {}
    for hooks in _installed:
        if hooks.describe_details is not None:
            fields |= hooks.describe_details(connection, record)
    return fields


def deletion_requested(connection: Connection, context: Context, jobs: JobIds, now: float) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.deletion_requested is not None:
            hooks.deletion_requested(connection, context, jobs, now)


def jobs_retained(connection: Connection) -> set[str]:
    """Run the hook of that name. Return the jobs of all features."""
    job_ids: set[str] = set()
    for hooks in _installed:
        if hooks.jobs_retained is not None:
            job_ids |= hooks.jobs_retained(connection)
    return job_ids


def publish(connection: Connection, facts: Sequence[Fact]) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.publish is not None:
            hooks.publish(connection, facts)


def run_wrote(
    connection: Connection, settings: CoordinatorSettings, record: JobRecord, log: RunLog, now: float
) -> list[Line]:
    """Run the hook of that name. Return the lines of all features."""
    return [
        line
        for hooks in _installed
        if hooks.run_wrote is not None
        for line in hooks.run_wrote(connection, settings, record, log, now)
    ]


def run_ends(
    connection: Connection, settings: CoordinatorSettings, record: JobRecord, log: RunLog, now: float
) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.run_ends is not None:
            hooks.run_ends(connection, settings, record, log, now)


def data_deleted(connection: Connection, job_ids: Sequence[str]) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.data_deleted is not None:
            hooks.data_deleted(connection, job_ids)


def lease_returned(connection: Connection, context: Context, record: JobRecord, event: Ended) -> Ended:
    """Run the hook of that name. Return the event of all features."""
    for hooks in _installed:
        if hooks.lease_returned is not None:
            event = cast("Ended", hooks.lease_returned(connection, context, record, event))
    return event


def pauses(connection: Connection, now: float) -> dict[tuple[str, str], float]:
    """Run the hook of that name. Return the latest ends of the pauses of all features."""
    ends: dict[tuple[str, str], float] = {}
    for hooks in _installed:
        if hooks.pauses is not None:
            for key, until in hooks.pauses(connection, now).items():
                ends[key] = max(until, ends.get(key, until))
    return ends


def account_limits(
    connection: Connection, settings: CoordinatorSettings, now: float
) -> dict[str, AccountLimit]:
    """Run the hook of that name. Return the limits of all features, of two for one account the lower one."""
    limits: dict[str, AccountLimit] = {}
    for hooks in _installed:
        if hooks.account_limits is not None:
            for account_id, limit in hooks.account_limits(connection, settings, now).items():
                limits[account_id] = min(limit, limits.get(account_id, limit), key=attrgetter("jobs"))
    return limits


def heartbeat(connection: Connection, context: Context, miner_id: str, beat: Heartbeat) -> list[Command]:
    """Run the hook of that name. Return the commands of all features."""
    return [
        command
        for hooks in _installed
        if hooks.heartbeat is not None
        for command in hooks.heartbeat(connection, context, miner_id, beat)
    ]


def miner_changed(
    connection: Connection, context: Context, miner_id: str, capabilities: Capabilities | None
) -> dict[str, Any]:
    """Run the hook of that name. Return the fields of all features."""
    fields: dict[str, Any] = {}
    for hooks in _installed:
        if hooks.miner_changed is not None:
            fields |= hooks.miner_changed(connection, context, miner_id, capabilities)
    return fields


def money_booked(connection: Connection, kind: Kind, amount: int, now: float) -> None:
    """Run the hook of that name."""
    for hooks in _installed:
        if hooks.money_booked is not None:
            hooks.money_booked(connection, kind, amount, now)


def miner_money(
    connection: Connection, parts: Mapping[type[Any], Any], miner_id: str, balance: int, now: float
) -> dict[str, int]:
    """Run the hook of that name. Return the amounts of all features."""
    amounts: dict[str, int] = {}
    for hooks in _installed:
        if hooks.miner_money is not None:
            amounts |= hooks.miner_money(connection, parts, miner_id, balance, now)
    return amounts


def examine(connection: Connection, origin: str, find: Find) -> dict[str, int]:
    """Run the hook of that name. Return how many records were examined, by what they are."""
    return dict(hooks.examine(connection, origin, find) for hooks in _installed if hooks.examine is not None)


def read_gauges(connection: Connection, context: Context, now: float) -> dict[Metric, Values]:
    """Run the hook of that name. Return the metrics of all features."""
    gauges: dict[Metric, Values] = {}
    for hooks in _installed:
        if hooks.read_gauges is not None:
            gauges |= hooks.read_gauges(connection, context, now)
    return gauges


def check_health(connection: Connection, context: Context) -> dict[str, bool]:
    """Run the hook of that name. Return the states of all features."""
    states: dict[str, bool] = {}
    for hooks in _installed:
        if hooks.check_health is not None:
            states |= hooks.check_health(connection, context)
    return states
