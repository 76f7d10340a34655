"""Completion of jobs: results are checked against their lease, and get a receipt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson
import structlog

from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.hooks import AcceptedResult, ResultEvidence, RunReport
from agent.coordinator.metrics import RUN_SECONDS
from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.metering import most_units
from agent.coordinator.store import artifacts, checkpoints, events, jobs, receipts, run_outputs
from agent.coordinator.store.artifacts import ArtifactRecord, JobArtifact
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.receipts import ReceiptRecord
from agent.core.errors import ApiError, ReceiptInvalid, StaleLease, ValidationFailed
from agent.core.jobs import Complete, IllegalEvent, JobState, Lease, ResultRefused
from agent.core.values.media_types import clean_media_type
from agent.core.values.quantities import format_time, from_units, parse_decimal
from agent.protocol.answers import Delivered
from agent.protocol.messages import OutputArtifact, RunLog, RunResult
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.dsse import open_envelope
from aitbc.errors import VerificationError
from aitbc.log import receipt_leaf
from aitbc.outputs import output_files
from aitbc.receipts import build_receipt, time_errors
from aitbc.statement import PAYLOAD_TYPE, RESULT_NAME, NamedDigest, Statement, job_price, parse_statement

SHORT_RESULTS: Final = 4096
"""Characters and values of results that are checked in the event loop."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A result with a valid signature and consistent parts, which is still to be compared with its lease."""

    statement: Statement
    statement_sha256: str
    envelope: dict[str, Any]
    leaf: bytes
    results: str
    artifacts: tuple[OutputArtifact, ...]
    public_key: bytes
    log: RunLog | None = None
    evidence: ResultEvidence | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """A delivery for a job, from a miner's session under a lease's fence."""

    session: Session
    job_id: str
    fence: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class _Valid:
    """A result that agrees with its lease. `sizes` are those of its files; `change` is what it does to its job."""

    result: _Result
    record: JobRecord
    lease: Lease
    change: Change
    completed_at: float
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted result. `seconds` is the duration of its run; None if the same result was accepted before."""

    receipt: ReceiptRecord
    trace_id: str
    seconds: float | None


async def complete(context: Context, session: Session, job_id: str, request: RunResult) -> Delivered:
    """Accept a result. A repeated delivery gets the same answer.

    Raises `StaleLease` if the lease is not the newest, `ReceiptInvalid` if the statement is not valid, and `ValidationFailed`.
    """
    try:
        if _is_short([request.results, request.evidence]):
            delivery = _check_delivery(context, session, request)
        else:
            # The canonical form of a long transcript or much evidence takes time, during which heartbeats must be answered.
            delivery = await asyncio.to_thread(_check_delivery, context, session, request)
        result = _Result(session, job_id, request.fence, delivery)
        accepted = await context.database.write_together(_complete, context, result, job_id)
    except ReceiptInvalid:
        # In a transaction of its own, because the error has undone the other one.
        await context.database.write(_note_refused, session, job_id, request.fence, context.clock())
        raise
    if accepted.seconds is not None:
        context.monitoring.meter.observe(RUN_SECONDS, accepted.seconds, delivery.statement.service)
        log.info(
            "job_completed",
            job_id=job_id,
            miner_id=session.miner_id,
            fence=request.fence,
            trace_id=accepted.trace_id,
        )
    return Delivered(job_id=job_id, status="completed", receipt_id=accepted.receipt.receipt_id)


def _is_short(results: Any) -> bool:
    """Return whether checking the results takes less time than starting a thread."""
    budget, parts = SHORT_RESULTS, [results]
    while parts and budget > 0:
        part = parts.pop()
        if isinstance(part, str | list | dict):
            budget -= len(part)
        if isinstance(part, dict):
            parts += [*part, *part.values()]
        elif isinstance(part, list) and budget > 0:
            parts += part
        budget -= 1
    return budget > 0


def _note_refused(connection: Connection, session: Session, job_id: str, fence: int, now: float) -> None:
    """Have features count an invalid statement against its miner if it is about a lease that the miner has."""
    record = jobs.find(connection, job_id)
    lease = record.life.lease if record is not None else None
    if record is None or lease is None or (lease.miner_id, lease.fence) != (session.miner_id, fence):
        return
    hooks.jobs_changed(connection, [Change(record, record.life, (ResultRefused(lease),))], {}, now)


def _check_delivery(context: Context, session: Session, request: RunResult) -> Delivery:
    # These checks need no row: they come before the transaction, in which others wait.
    if problems := request.problems():
        raise ValidationFailed("The message is not valid.", problems)
    try:
        payload = open_envelope(request.envelope, session.public_key, PAYLOAD_TYPE)
        statement = parse_statement(payload)
        results = canonical_json(request.results)
        evidence = None if request.evidence is None else canonical_json(request.evidence)
        files = output_files(request.results)
    except VerificationError as error:
        raise ReceiptInvalid(f"The statement cannot be accepted: {error}") from None
    subject = (
        NamedDigest(RESULT_NAME, sha256_hex(results)),
        *(NamedDigest(file.name, file.sha256) for file in files),
    )
    if statement.subject != subject:
        raise ReceiptInvalid("The statement's subject does not match the results.", {"subject": "differs"})
    if _units_of(request.results) != statement.units:
        raise ReceiptInvalid("The statement's units do not match the results.", {"units": "differ"})
    if statement.evidence_sha256 != (None if evidence is None else sha256_hex(evidence)):
        raise ReceiptInvalid("The statement does not match the evidence.", {"evidence_sha256": "differs"})
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
        log=request.log,
        evidence=None
        if request.evidence is None or evidence is None
        else ResultEvidence(request.evidence, evidence.decode()),
    )


def _units_of(results: dict[str, Any]) -> Decimal | None:
    try:
        return parse_decimal(str(results.get("units")))
    except ValueError:
        return None


def _complete(
    connection: Connection, context: Context, results: Sequence[_Result]
) -> list[Accepted | ApiError]:
    """Accept the results of different jobs."""
    now = context.clock()
    records = jobs.lock_many(connection, [result.job_id for result in results])
    outcomes: dict[str, Accepted | ApiError] = {}
    valid = []
    for result in results:
        try:
            checked = _checked(connection, context, result, records.get(result.job_id), now)
        except (StaleLease, ReceiptInvalid) as error:
            outcomes[result.job_id] = error
            continue
        if isinstance(checked, _Valid):
            valid.append(checked)
        else:
            outcomes[result.job_id] = checked
    if valid:
        outcomes |= _accept(connection, context, valid, now)
    return [outcomes[result.job_id] for result in results]


def _checked(
    connection: Connection, context: Context, result: _Result, record: JobRecord | None, now: float
) -> _Valid | Accepted:
    """Return the result if it is to be accepted, or what was answered if it was accepted before.

    Raises `StaleLease`, `ReceiptInvalid`.
    """
    delivery, session, fence = result.delivery, result.session, result.fence
    if record is None:
        raise StaleLease(result.job_id, fence)
    # The miner repeats a delivery whose answer was lost. It must get the same receipt, and not an error about a stale lease.
    if record.life.state is JobState.COMPLETED and record.life.fence == fence:
        receipt = receipts.of_job(connection, result.job_id)
        if receipt is not None and receipt.statement_sha256 == delivery.statement_sha256:
            return Accepted(receipt, record.trace_id, None)
    lease = record.life.lease
    if lease is None:
        raise StaleLease(result.job_id, fence)
    units = str(delivery.statement.units)
    try:
        change = Change.by(record, Complete(session.miner_id, fence, now), progress=100.0, units=units)
    except IllegalEvent:
        raise StaleLease(result.job_id, fence) from None
    # Never before the assignment, even if the coordinator's clock was set back.
    completed_at = max(now, lease.assigned_at)
    _check_against_lease(context, record, session, lease, delivery.statement, completed_at)
    sizes = _check_artifacts(connection, delivery)
    return _Valid(result, record, lease, change, completed_at, sizes)


def _accept(
    connection: Connection, context: Context, valid: Sequence[_Valid], now: float
) -> dict[str, Accepted]:
    """Store results with all their consequences. Return the outcomes by job."""
    # Before the jobs end: the last lines of a log belong to the run while it is still running.
    for accepted in valid:
        if (run_log := accepted.result.delivery.log) is not None:
            hooks.run_reported(connection, context, RunReport(accepted.record, now, run_log, ends=True))
    lifecycle.save(connection, [accepted.change for accepted in valid], now)
    jobs.add_results(
        connection, [(accepted.record.job_id, accepted.result.delivery.results) for accepted in valid]
    )
    for accepted in sorted(
        valid, key=lambda accepted: accepted.record.account_id
    ):  # whose locks have this order
        _add_outputs(connection, accepted.record, accepted.result.delivery.artifacts, accepted.sizes, now)
    seconds = {accepted.record.job_id: now - accepted.lease.assigned_at for accepted in valid}
    new_receipts = [
        _receipt(context, accepted.lease, accepted.result.delivery, accepted.completed_at)
        for accepted in valid
    ]
    receipts.add(connection, new_receipts)
    pairs = list(zip(valid, new_receipts, strict=True))
    events.add(connection, [_receipt_created(accepted.record, receipt) for accepted, receipt in pairs], now)
    hooks.results_accepted(
        connection,
        context,
        [
            AcceptedResult(
                accepted.record,
                accepted.result.delivery.statement,
                accepted.result.delivery.evidence,
                receipt.receipt_id,
                accepted.result.delivery.leaf,
            )
            for accepted, receipt in pairs
        ],
        now,
    )
    return {
        receipt.job_id: Accepted(receipt, accepted.record.trace_id, seconds[receipt.job_id])
        for accepted, receipt in pairs
    }


def _add_outputs(
    connection: Connection,
    record: JobRecord,
    files: Sequence[OutputArtifact],
    sizes: Mapping[str, int],
    now: float,
) -> None:
    """Link the output files to their job, and move them to its account."""
    outputs = [JobArtifact(file.artifact_id, file.name, clean_media_type(file.media_type)) for file in files]
    artifacts.link(connection, record.job_id, "output", outputs)
    if outputs:
        stored = [
            ArtifactRecord(file.artifact_id, sizes[file.artifact_id], file.media_type) for file in outputs
        ]
        run_outputs.hand_over(connection, record.job_id, stored, record.account_id, now)


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
    definition = context.catalogue.services[record.service]
    # All fields are compared before any is refused, so that a runner's author learns of all mistakes at once.
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
    errors = {
        name: f"is {stated}, must be {must}" for name, (stated, must) in expected.items() if stated != must
    }
    files: dict[str, Any] = orjson.loads(record.spec)["files"]
    digests = dict(_input_digests(files))
    named = {item.name: item.sha256 for item in statement.inputs}
    if set(named) != set(files) or any(named.get(name) != digest for name, digest in digests.items()):
        errors["inputs"] = "must name every file of the specification with its digest"
    errors |= time_errors(
        statement,
        format_time(lease.assigned_at),
        format_time(completed_at),
        context.settings.max_clock_skew_seconds,
    )
    elapsed = completed_at - lease.assigned_at + context.settings.max_clock_skew_seconds
    limit = most_units(context, record, elapsed)
    if limit is not None and statement.units > limit:
        errors["units"] = f"is {statement.units}, must be at most {limit}"
    if [statement.runner_name, statement.runner_version] not in session.runners.get(record.service, []):
        stated = f"{statement.runner_name} {statement.runner_version}"
        errors["runner"] = f"is {stated}, which this miner has not registered for {record.service}"
    if errors:
        raise ReceiptInvalid("The statement does not match the lease.", errors)


def _input_digests(files: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield the file fields that name an artifact, with its SHA-256. The digests of other references are unknown here."""
    prefix = "artifact:sha256:"
    for path, reference in files.items():
        if isinstance(reference, str) and reference.startswith(prefix):
            yield path, reference.removeprefix(prefix)


def _check_artifacts(connection: Connection, delivery: Delivery) -> dict[str, int]:
    """Return the sizes of the output files in bytes. Raises `ReceiptInvalid` unless all were stored for this job."""
    stated = {f"sha256:{item.sha256}" for item in delivery.statement.subject[1:]}
    listed = {file.artifact_id for file in delivery.artifacts}
    # In both directions: a file that is signed but not listed has no media type, one that is listed but not signed no proof.
    missing = sorted(stated ^ listed)
    sizes: dict[str, int] = {}
    if stated and not missing:
        job_id = delivery.statement.job_id
        sizes = _checkpoints(connection, job_id) | run_outputs.sizes_of(connection, job_id, stated)
        missing = sorted(stated - sizes.keys())
    if missing:
        raise ReceiptInvalid(
            "Every output file must be stored before its result, and listed in it.",
            {"artifacts": ", ".join(missing[:20])},
        )
    return sizes


def _checkpoints(connection: Connection, job_id: str) -> dict[str, int]:
    """Return the sizes of the job's checkpoints, which results may name even if another miner stored them."""
    job_checkpoints = checkpoints.of_jobs(connection, [job_id]).get(job_id, [])
    return {checkpoint.artifact_id: checkpoint.size for checkpoint in job_checkpoints}


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
