"""How leases end: with a result and a receipt, with a failure, handed back, or by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog

from agent.coordinator import lifecycle
from agent.coordinator.metrics import LEASES_EXPIRED, RUN_SECONDS
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners import habits
from agent.coordinator.operations.miners.sessions import Session, end_lease, metered
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import checkpoints as checkpoint_store
from agent.coordinator.store import events as event_store
from agent.coordinator.store import jobs as store
from agent.coordinator.store import log as log_store
from agent.coordinator.store import miner_stats, run_outputs
from agent.coordinator.store import receipts as receipt_store
from agent.coordinator.store.artifacts import ArtifactRecord, JobArtifact
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miner_stats import MinerStats
from agent.coordinator.store.receipts import ReceiptRecord
from agent.core.errors import ReceiptInvalid, StaleLease
from agent.core.jobs import (
    Abandon,
    Complete,
    FailRun,
    Failure,
    IllegalEvent,
    Job,
    JobState,
    Lease,
    Release,
    may,
)
from agent.core.market.reputation import TOO_LARGE
from agent.core.values.media_types import clean_media_type
from agent.core.values.quantities import UNIT_DECIMALS, format_time, from_units, parse_decimal
from agent.protocol.messages import OutputArtifact, RunFailure, RunRelease, RunResult
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.dsse import open_envelope
from aitbc.errors import VerificationError
from aitbc.log import receipt_leaf
from aitbc.outputs import output_files
from aitbc.receipts import build_receipt, time_faults
from aitbc.statement import PAYLOAD_TYPE, RESULT_NAME, NamedDigest, Statement, job_price, parse_statement
from runners.errors import FailureCode

SHORT_RESULTS: Final = 4096
"""Characters and values."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A result whose signature is good and whose parts agree with each other; the lease is still to be checked."""

    statement: Statement
    statement_sha256: str
    envelope: dict[str, Any]
    leaf: bytes
    results: str
    artifacts: tuple[OutputArtifact, ...]
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """A result that was taken. `seconds` is how long its run took, None if the same had been taken before."""

    receipt: ReceiptRecord
    trace_id: str
    seconds: float | None


async def complete(context: Context, session: Session, job_id: str, request: RunResult) -> dict[str, Any]:
    """Take a result: once. The same again gets the same answer.

    Raises `StaleLease` if the lease is not the newest, `ReceiptInvalid` if the statement does not hold.
    """
    try:
        if _is_short(request.results):
            delivery = _check_delivery(context, session, request)
        else:  # a long transcript takes a while to put into canonical form, and heartbeats must not wait for it
            delivery = await asyncio.to_thread(_check_delivery, context, session, request)
        taken = await context.database.write(_complete, context, session, job_id, request.fence, delivery)
    except ReceiptInvalid:
        await context.database.write(_note_refused, session, job_id, request.fence, context.clock())
        raise
    if taken.seconds is not None:
        context.meter.observe(RUN_SECONDS, taken.seconds, delivery.statement.service)
        log.info(
            "job_completed",
            job_id=job_id,
            miner_id=session.miner_id,
            fence=request.fence,
            trace_id=taken.trace_id,
        )
    return {"job_id": job_id, "status": JobState.COMPLETED.value, "receipt_id": taken.receipt.receipt_id}


def _is_short(results: Any) -> bool:
    """Whether results are checked sooner than a thread would begin with them."""
    left, parts = SHORT_RESULTS, [results]
    while parts and left > 0:
        part = parts.pop()
        if isinstance(part, str | list | dict):
            left -= len(part)
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        elif isinstance(part, list) and left > 0:
            parts += part
        left -= 1
    return left > 0


def _note_refused(connection: Connection, session: Session, job_id: str, fence: int, now: float) -> None:
    """A statement that does not hold speaks against its miner, if it is about a lease that the miner has."""
    record = store.find(connection, job_id)
    lease = record.life.lease if record is not None else None
    if record is None or lease is None or (lease.miner_id, lease.fence) != (session.miner_id, fence):
        return
    more = MinerStats(refused=1)
    miner_stats.add(connection, session.miner_id, record.account_id, more, success=False, now=now)


def _check_delivery(context: Context, session: Session, request: RunResult) -> Delivery:
    try:
        payload = open_envelope(request.envelope, session.public_key, PAYLOAD_TYPE)
        statement = parse_statement(payload)
        results = canonical_json(request.results)
        files = output_files(request.results)
    except VerificationError as error:
        raise ReceiptInvalid(f"The statement cannot be accepted: {error}") from None
    subject = (
        NamedDigest(RESULT_NAME, sha256_hex(results)),
        *(NamedDigest(file.name, file.sha256) for file in files),
    )
    if statement.subject != subject:
        raise ReceiptInvalid(
            "The statement's subject does not agree with the results.", {"subject": "differs"}
        )
    if _units_of(request.results) != statement.units:
        raise ReceiptInvalid("The statement's units are not those of the results.", {"units": "differ"})
    if statement.origin != context.signer.origin:
        raise ReceiptInvalid(
            "The statement names another log.", {"origin": f"must be {context.signer.origin}"}
        )
    return Delivery(
        statement=statement,
        statement_sha256=sha256_hex(payload),
        envelope=request.envelope,
        leaf=receipt_leaf(request.envelope),
        results=results.decode(),
        artifacts=tuple(request.artifacts),
        public_key=session.public_key,
    )


def _units_of(results: dict[str, Any]) -> Decimal | None:
    try:
        return parse_decimal(str(results.get("units")))
    except ValueError:
        return None


def _complete(
    connection: Connection, context: Context, session: Session, job_id: str, fence: int, delivery: Delivery
) -> Taken:
    now = context.clock()
    record = store.find(connection, job_id)
    if record is None:
        raise StaleLease(job_id, fence)
    if record.life.state is JobState.COMPLETED and record.life.fence == fence:
        known = receipt_store.of_job(connection, job_id)
        if known is not None and known.statement_sha256 == delivery.statement_sha256:
            return Taken(known, record.trace_id, None)
    lease = record.life.lease
    event = Complete(session.miner_id, fence, now)
    if lease is None or not may(record.life, event):
        raise StaleLease(job_id, fence)
    # Never before the assignment, even where the coordinator's clock was set back meanwhile.
    completed_at = max(now, lease.assigned_at)
    _check_against_lease(context, record, session, lease, delivery.statement, completed_at)
    sizes = _check_artifacts(connection, delivery)
    lifecycle.change(connection, record, event, now, progress=100.0, units=str(delivery.statement.units))
    store.add_results(connection, job_id, delivery.results)
    outputs = [
        JobArtifact(file.artifact_id, file.name, clean_media_type(file.media_type))
        for file in delivery.artifacts
    ]
    artifact_store.link(connection, job_id, "output", outputs)
    if outputs:
        stored = [
            ArtifactRecord(file.artifact_id, sizes[file.artifact_id], file.media_type) for file in outputs
        ]
        run_outputs.hand_over(connection, job_id, stored, record.account_id, now)
    receipt_store.learn_duration(connection, record.service, record.model, now - lease.assigned_at)
    receipt = _receipt(context, lease, delivery, completed_at)
    receipt_store.add(connection, receipt)
    log_store.queue_receipt(connection, receipt.receipt_id, delivery.leaf)
    event_store.add(connection, [_receipt_created(record, receipt)], now)
    return Taken(receipt, record.trace_id, now - lease.assigned_at)


def _receipt_created(record: JobRecord, receipt: ReceiptRecord) -> NewEvent:
    data = {
        "receipt_id": receipt.receipt_id,
        "job_id": receipt.job_id,
        "miner_id": receipt.miner_id,
        "timestamp": format_time(receipt.created_at),
    }
    return NewEvent("receipt_created", data, record.account_id, receipt.miner_id, receipt.job_id)


def _check_against_lease(
    context: Context,
    record: JobRecord,
    session: Session,
    lease: Lease,
    statement: Statement,
    completed_at: float,
) -> None:
    unit_price = from_units(record.unit_price or 0)
    price = job_price(statement.units, unit_price, from_units(record.max_cost))
    definition = context.services[record.service]
    expected: dict[str, tuple[Any, Any]] = {
        "job_id": (statement.job_id, record.job_id),
        "miner_id": (statement.miner_id, session.miner_id),
        "fence": (statement.fence, lease.fence),
        "spec_digest": (statement.spec_digest, record.spec_digest),
        "service": (statement.service, record.service),
        "model": (statement.model.name if statement.model else None, record.model),
        "unit": (statement.unit, definition.unit_on(statement.device_kind)),
        "unit_price": (statement.unit_price, unit_price),
        "price": (statement.price, price),
    }
    faults = {name: f"is {said}, must be {must}" for name, (said, must) in expected.items() if said != must}
    files: dict[str, Any] = orjson.loads(record.spec)["files"]
    wanted = dict(_input_digests(files))
    named = {item.name: item.sha256 for item in statement.inputs}
    if set(named) != set(files) or any(named.get(k) != v for k, v in wanted.items()):
        faults["inputs"] = "must name every file of the specification with its digest"
    faults |= time_faults(
        statement,
        format_time(lease.assigned_at),
        format_time(completed_at),
        context.settings.max_clock_skew_seconds,
    )
    if [statement.runner_name, statement.runner_version] not in session.runners.get(record.service, []):
        said = f"{statement.runner_name} {statement.runner_version}"
        faults["runner"] = f"is {said}, which this miner has not registered for {record.service}"
    if faults:
        raise ReceiptInvalid("The statement does not agree with the lease.", faults)


def _input_digests(files: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    prefix = "artifact:sha256:"
    for path, reference in files.items():
        if isinstance(reference, str) and reference.startswith(prefix):
            yield path, reference.removeprefix(prefix)


def _check_artifacts(connection: Connection, delivery: Delivery) -> dict[str, int]:
    """The sizes of the output files in bytes. Raises `ReceiptInvalid` unless all were stored for this job."""
    stated = {f"sha256:{item.sha256}" for item in delivery.statement.subject[1:]}
    listed = {file.artifact_id for file in delivery.artifacts}
    missing = sorted(stated ^ listed)
    sizes: dict[str, int] = {}
    if stated and not missing:
        job_id = delivery.statement.job_id
        sizes = _checkpoints(connection, job_id) | run_outputs.sizes_of(connection, job_id, stated)
        missing = sorted(stated - sizes.keys())
    if missing:
        raise ReceiptInvalid(
            "Every output file is stored before its result, and listed.",
            {"artifacts": ", ".join(missing[:20])},
        )
    return sizes


def _checkpoints(connection: Connection, job_id: str) -> dict[str, int]:
    """Results may name checkpoints of the job that another miner has stored."""
    found = checkpoint_store.of_jobs(connection, [job_id]).get(job_id, [])
    return {checkpoint.artifact_id: checkpoint.size for checkpoint in found}


def _receipt(context: Context, lease: Lease, delivery: Delivery, now: float) -> ReceiptRecord:
    receipt = build_receipt(
        envelope=delivery.envelope,
        public_key=delivery.public_key,
        statement=delivery.statement,
        assigned_at=format_time(lease.assigned_at),
        completed_at=format_time(now),
        signing_key=context.signer.key,
    )
    return ReceiptRecord(
        receipt_id=receipt["receipt_id"],
        job_id=delivery.statement.job_id,
        miner_id=delivery.statement.miner_id,
        statement_sha256=delivery.statement_sha256,
        receipt=orjson.dumps(receipt).decode(),
        created_at=now,
    )


async def fail(context: Context, session: Session, job_id: str, request: RunFailure) -> dict[str, Any]:
    """Take a failure: final if the client caused it, else the job is tried again. Raises `StaleLease`."""
    event = FailRun(
        miner_id=session.miner_id,
        fence=request.fence,
        now=context.clock(),
        failure=Failure(request.code, request.message),
        retry=request.kind == "retry",
    )
    life, trace_id = await context.database.write(_fail, context, session, job_id, event, request.units)
    log.info(
        "run_failed",
        job_id=job_id,
        miner_id=session.miner_id,
        kind=request.kind,
        code=request.code,
        trace_id=trace_id,
    )
    return _ended(context, life)


def _fail(
    connection: Connection,
    context: Context,
    session: Session,
    job_id: str,
    event: FailRun,
    units: Decimal | None,
) -> tuple[Job, str]:
    record = _record(connection, job_id, event.fence)
    if _is_repeated(record, session, event):
        return record.life, record.trace_id
    lease = record.life.lease
    units = _plausible(context, record, units, event.now)
    life = _change(connection, record, event, units=metered(record, units, event.now))
    if not event.retry:
        habits.client_failed(connection, context, record, event.now)
    elif event.failure.code in TOO_LARGE and lease is not None:
        habits.client_failed(connection, context, record, event.now)
        habits.handed_back(connection, context, record, lease, event.now)
    return life, record.trace_id


def _plausible(context: Context, record: JobRecord, units: Decimal | None, now: float) -> Decimal | None:
    """The units of a failed run, where they are time no more than has passed since the job was given to the miner."""
    lease = record.life.lease
    if units is None or lease is None or not context.services[record.service].unit_is_time:
        return units
    return min(units, round(Decimal(max(0.0, now - lease.assigned_at)), UNIT_DECIMALS))


async def release(context: Context, session: Session, job_id: str, request: RunRelease) -> dict[str, Any]:
    """Take a lease back from its miner; the attempt does not count. Raises `StaleLease`."""
    now = context.clock()
    life, trace_id = await context.database.write(_release, context, session, job_id, request.fence, now)
    log.info("lease_released", job_id=job_id, miner_id=session.miner_id, trace_id=trace_id)
    return _ended(context, life)


def _release(
    connection: Connection, context: Context, session: Session, job_id: str, fence: int, now: float
) -> tuple[Job, str]:
    record = _record(connection, job_id, fence)
    lease = record.life.lease
    avoid_seconds = habits.avoidance(connection, session.miner_id, now)
    life = _change(connection, record, Release(session.miner_id, fence, now, avoid_seconds))
    if lease is not None:
        habits.handed_back(connection, context, record, lease, now)
    return life, record.trace_id


async def take_back(context: Context, session: Session, job_id: str, fence: int) -> None:
    """Take back a lease that never reached its miner, which is not the miner's doing. Raises `StaleLease`."""
    life, trace_id = await context.database.write(_take_back, session, job_id, fence, context.clock())
    log.info("lease_revoked", job_id=job_id, miner_id=session.miner_id, trace_id=trace_id)
    _ended(context, life)


def _take_back(
    connection: Connection, session: Session, job_id: str, fence: int, now: float
) -> tuple[Job, str]:
    record = _record(connection, job_id, fence)
    return _change(connection, record, Release(session.miner_id, fence, now)), record.trace_id


def _ended(context: Context, life: Job) -> dict[str, Any]:
    """The answer about a run that has ended; others hear of the job if it waits again."""
    if life.state is JobState.SUBMITTED:
        context.dispatcher.job_waiting()
    return {"job_id": life.job_id, "status": life.state.value}


def _record(connection: Connection, job_id: str, fence: int) -> JobRecord:
    record = store.find(connection, job_id)
    if record is None:
        raise StaleLease(job_id, fence)
    return record


def _change(connection: Connection, record: JobRecord, event: FailRun | Release, **values: Any) -> Job:
    try:
        return lifecycle.change(connection, record, event, event.now, **values)[0]
    except IllegalEvent:
        raise StaleLease(record.job_id, event.fence) from None


def _is_repeated(record: JobRecord, session: Session, event: FailRun) -> bool:
    """Whether this failure was taken before and only the answer got lost."""
    return (
        record.life.state is JobState.FAILED
        and record.life.fence == event.fence
        and record.miner_id == session.miner_id
        and not event.retry
    )


async def start_over(context: Context) -> None:
    """After a start: leases live on for a full period, since the coordinator's absence is not the miners' fault."""
    now = context.clock()
    extended = await context.database.write(store.extend_leases, now + context.settings.lease_seconds)
    log.info("leases_extended", count=extended)


async def expire_due(context: Context) -> int:
    """End leases that ran out and jobs whose files never came. Returns how many."""
    now = context.clock()
    before = now - context.settings.input_wait_seconds
    if not await context.database.read(store.anything_due, now, before):
        return 0
    expired, abandoned = await context.database.write(_expire_due, now, before)
    context.meter.count(LEASES_EXPIRED, amount=len(expired))
    if any(life.state is JobState.SUBMITTED for life in expired):
        context.dispatcher.job_waiting()
    return len(expired) + abandoned


def _expire_due(connection: Connection, now: float, files_before: float) -> tuple[list[Job], int]:
    """The jobs whose leases ran out, and how many jobs were given up for want of their files."""
    expired = []
    for record in store.expired(connection, now):
        life, _ = end_lease(connection, record, now, "the miner was not heard of in time")
        log.info(
            "lease_expired",
            job_id=record.job_id,
            fence=record.life.fence,
            status=life.state,
            trace_id=record.trace_id,
        )
        expired.append(life)
    abandoned = store.abandoned(connection, files_before)
    for record in abandoned:
        missing = ", ".join(json.loads(record.missing_files or "[]"))
        failure = Failure(FailureCode.INPUT_MISSING, f"The files for {missing} were not uploaded in time.")
        lifecycle.change(connection, record, Abandon(now, failure), now)
    return expired, len(abandoned)
