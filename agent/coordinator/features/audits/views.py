"""Audits as operators, clients and owners of miners see them, and second opinions."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from agent.coordinator.features.audits.caches import shared_caches
from agent.coordinator.features.audits.rules import AuditKind, Verdict, error_probability
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, proofs
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.hooks import JobFields, View
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.store import jobs, queue
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Conflict, JobNotFound, NotFound
from agent.core.values.quantities import format_optional_time, format_time, format_units
from agent.sections import section_of
from aitbc.answers.accounts import Role
from aitbc.answers.audits import Audit, AuditList, AuditStanding, MinerAudits
from aitbc.leaves.verdict import comparison_sha256
from aitbc.receipts import receipt_id


def describe_jobs(connection: Connection, records: Sequence[JobRecord], view: View) -> JobFields:
    """Return the audits of jobs as a field of their details, or as options for other jobs; or whose caches they share."""
    if view is View.OPTIONS:
        return {
            record.job_id: {"audited": True} for record in records if queue.restrictions_of(record).audited
        }
    if view is View.LEASE:
        names = {record.job_id: shared_caches(connection, record) for record in records}
        return {job_id: {"caches": name} for job_id, name in names.items() if name is not None}
    if view is not View.DETAILS:
        return {}
    audit_by_job = {record.job_id: audits.of_job(connection, record.job_id) for record in records}
    return {
        job_id: {"audit": {"audit_id": audit.audit_id, "status": audit.status, "verdict": audit.verdict}}
        for job_id, audit in audit_by_job.items()
        if audit is not None
    }


def listed(
    connection: Connection,
    context: Context,
    miner_id: str | None,
    verdict: str | None,
    limit: int,
    before_id: str | None,
) -> AuditList:
    """Return audits of all miners for administrators, newest first."""
    records = audits.page(
        connection, miner_id=miner_id, verdict=verdict, limit=limit + 1, before_id=before_id
    )
    return AuditList(audits=_views(connection, context, records[:limit]), next=_next(records, limit))


def get(connection: Connection, context: Context, audit_id: str) -> Audit:
    """Return an audit for administrators. Raises `NotFound`."""
    record = audits.find(connection, audit_id)
    if record is None:
        raise _unknown(audit_id)
    return _views(connection, context, [record])[0]


def of_miner(
    connection: Connection, context: Context, caller: Caller, miner_id: str, limit: int, before_id: str | None
) -> MinerAudits:
    """Return the decided audits of one of the caller's miners, newest first. Raises `NotFound`."""
    # Audits of a removed miner still decide about what it has earned.
    of_caller(connection, caller, miner_id, removed=True)
    records = audits.page(
        connection, miner_id=miner_id, only_decided=True, limit=limit + 1, before_id=before_id
    )
    settings = section_of(context.settings, AuditSettings)
    rows = [
        AuditStanding(
            role="auditor" if role == proofs.AUDITOR else "miner",
            service=service,
            model=model or None,
            passes=standing.passes,
            checked=standing.organic.checked,
            failed=standing.organic.failed,
            canaries_checked=standing.canaries.checked,
            canaries_failed=standing.canaries.failed,
            unproven=standing.unproven,
            unproven_at_fault=standing.at_fault,
            probability=min(
                error_probability(standing.organic, settings.false_positive_bound),
                error_probability(standing.canaries, settings.canary_false_positive_bound),
            ),
        )
        for role, service, model, standing in proofs.of_miner(connection, miner_id)
    ]
    return MinerAudits(
        audits=_views(connection, context, records[:limit]),
        next=_next(records, limit),
        proofs=rows,
    )


def of_job(connection: Connection, context: Context, caller: Caller, job_id: str) -> Audit:
    """Return the audit of a job for its client or an administrator. Raises `JobNotFound`, and `NotFound` if it is not audited."""
    record = jobs.find(connection, job_id)
    if record is None or (caller.role is not Role.ADMIN and record.account_id != caller.account_id):
        raise JobNotFound(job_id)
    audit = audits.of_job(connection, job_id)
    if audit is None:
        raise NotFound(f"Job {job_id} is not audited.", {"job_id": job_id})
    return _views(connection, context, [audit])[0]


async def ask_for_second_opinion(context: Context, caller: Caller, miner_id: str, audit_id: str) -> Audit:
    """Have another auditor compare the result of a failed audit, once. May be repeated. Raises `NotFound`, `Conflict`."""
    return await context.database.write(
        _second_opinion, context, caller, miner_id, audit_id, context.new_id("audit")
    )


def _second_opinion(
    connection: Connection, context: Context, caller: Caller, miner_id: str, audit_id: str, new_id: str
) -> Audit:
    of_caller(connection, caller, miner_id, removed=True)
    audit = audits.find(connection, audit_id)
    if audit is None or audit.miner_id != miner_id or not audit.is_root or audit.decided_at is None:
        raise _unknown(audit_id)
    root, *opinions = audits.lock(connection, audit_id)
    requested = next((opinion for opinion in opinions if opinion.kind == AuditKind.SECOND_OPINION), None)
    # A repeated request returns the opinion that was asked for, instead of an error.
    if requested is not None:
        return _view(context, requested)
    if root.verdict != Verdict.FAIL:
        raise Conflict(
            f"The audit {audit_id} has the verdict {root.verdict}; a second opinion is possible only about a failed audit."
        )
    now = context.clock()
    if _until(context, root) <= now or root.settled_at is not None:
        raise Conflict(
            f"The time for a second opinion about {audit_id} has passed; it ends "
            f"{section_of(context.settings, AuditSettings).second_opinion_seconds / 3600:g} hours after the verdict."
        )
    second = root.another(AuditKind.SECOND_OPINION, new_id, now)
    audits.add(connection, second)
    return _view(context, second)


def _until(context: Context, record: AuditRecord) -> float:
    return (record.decided_at or 0.0) + section_of(context.settings, AuditSettings).second_opinion_seconds


def _views(connection: Connection, context: Context, records: Sequence[AuditRecord]) -> list[Audit]:
    """Return audits and opinions as answers, in the same order."""
    # Where others have overruled the first auditor, its reason would contradict the verdict: that of one who agrees is shown.
    disputed = [
        audit.audit_id for audit in records if audit.is_root and audit.verdict not in (None, audit.opinion)
    ]
    reasons = audits.agreeing_reasons(connection, disputed)
    return [_view(context, audit, reasons.get(audit.audit_id)) for audit in records]


def _view(context: Context, record: AuditRecord, other_reason: str | None = None) -> Audit:
    """Return an audit or opinion as an answer. `other_reason` is that of an opinion that agrees with the verdict, unless its own does."""
    open_until = None
    if record.is_root and record.verdict == Verdict.FAIL and record.settled_at is None:
        open_until = format_time(_until(context, record))
    distances, limits = orjson.loads(record.distances), orjson.loads(record.limits)
    return Audit(
        audit_id=record.audit_id,
        job_id=record.job_id,
        receipt_id=receipt_id(record.job_id),
        miner_id=record.miner_id,
        service=record.service,
        model=record.model or None,
        kind=record.kind,
        status=record.status,
        opinion=record.opinion,
        verdict=record.verdict,
        distances=distances,
        limits=limits,
        where=record.position,
        reason=record.reason,
        verdict_reason=None if record.verdict is None else other_reason or record.reason,
        cause=record.cause or None,
        contradiction=record.contradiction or None,
        salt=record.salt,
        comparison_sha256=comparison_sha256(distances, limits, record.position, record.reason, record.salt),
        created_at=format_time(record.created_at),
        decided_at=format_optional_time(record.decided_at),
        probability=record.probability,
        enforced=bool(record.enforced),
        forfeited=format_units(record.forfeited),
        parent=None if record.is_root else record.root,
        second_opinion_until=open_until,
    )


def _next(records: list[AuditRecord], limit: int) -> str | None:
    return records[limit - 1].audit_id if len(records) > limit else None


def _unknown(audit_id: str) -> NotFound:
    return NotFound(f"There is no audit {audit_id}, or it is not decided yet.", {"audit_id": audit_id})
