"""What follows from decided audits: lost pay and reputation where the proof is strong enough, and the end of their data."""

from __future__ import annotations

from typing import Final

import structlog

from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.metrics import SANCTIONS
from agent.coordinator.features.audits.rounds.deciding import decision_of, delete_data, one_by_one, queue_leaf
from agent.coordinator.features.audits.rules import (
    AuditKind,
    UnprovenCause,
    Verdict,
    error_probability,
    is_proven,
)
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, canaries, proofs
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.features.reputation.rules import SANCTION_WEIGHT, WITHDRAWN
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.reputation.store.miner_stats import MinerStatistics, Work
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks
from agent.core.values.quantities import from_units
from agent.sections import section_of
from aitbc.leaves.verdict import Sanction

BATCH: Final = 100

log = structlog.get_logger()


async def settle(context: Context) -> int:
    """Carry out what follows from decided audits. Return how many were examined."""
    decided_before = context.clock() - section_of(context.settings, AuditSettings).second_opinion_seconds
    roots = await context.database.read(audits.unsettled, decided_before, BATCH)

    async def follow(root: str) -> None:
        for role in await context.database.write(_settle, context, root):
            context.monitoring.meter.count(SANCTIONS, role)

    await one_by_one(roots, follow)
    return len(roots)


def _settle(connection: Connection, context: Context, root: str) -> list[str]:
    """Settle one audit. Return the roles in which miners are sanctioned for it."""
    opinions = audits.lock(connection, root)
    if (
        not opinions
        or opinions[0].settled_at is not None
        # A second opinion may still be on its way, and could overturn the verdict.
        or any(opinion.opinion is None for opinion in opinions)
    ):
        return []
    now, audit = context.clock(), opinions[0]
    sanctioned: list[str] = []
    if audit.verdict == Verdict.FAIL or audit.cause == UnprovenCause.REGISTRATION:
        sanctioned += _sanction_miner(connection, context, audit, now)
    sanctioned += _sanction_auditors(connection, context, opinions, now)
    if section_of(context.settings, AuditSettings).enforce:
        if audit.verdict == Verdict.PASS:
            works = [Work(audit.miner_id, funds.VERDICTS, MinerStatistics(), success=True)]
            miner_stats.add(connection, works, now)
        elif audit.verdict == Verdict.UNPROVEN and audit.cause:
            works = [
                Work(audit.miner_id, audit.account_id, MinerStatistics(), success=True, weight=WITHDRAWN)
            ]
            miner_stats.add(connection, works, now)
    audits.change(connection, root, settled_at=now)
    for opinion in opinions:
        if not opinion.is_root:
            audits.change(connection, opinion.audit_id, settled_at=now)
    # Nobody needs the copies of the client's data any more.
    for job_id in sorted(audits.audit_jobs_of(opinions)):
        delete_data(connection, job_id, now)
    canary = None if audit.canary_id is None else canaries.find(connection, audit.canary_id)
    if canary is not None and canary.deleted_at is not None:
        delete_data(connection, audit.job_id, now)
    return sanctioned


def _sanction_miner(connection: Connection, context: Context, audit: AuditRecord, now: float) -> list[str]:
    """Take the pay of all failed jobs of this kind, if together they prove that the miner returns wrong results."""
    settings = section_of(context.settings, AuditSettings)
    kind = AuditKind(audit.kind)
    locks.statistics(connection, [audit.miner_id])
    counts = proofs.find(connection, audit.miner_id, proofs.MINER, audit.service, audit.model).counts(kind)
    bound = (
        settings.canary_false_positive_bound if kind is AuditKind.CANARY else settings.false_positive_bound
    )
    probability = error_probability(counts, bound)
    audits.change(connection, audit.audit_id, probability=probability)
    # One failure may be bad luck; nobody loses money before the series of failures proves more.
    if not settings.enforce or not is_proven(counts, bound):
        return []
    # Once it is proven that the miner cheats, it loses the pay of its earlier failures too.
    failed = audits.failed_of(connection, audit.miner_id, audit.service, audit.model)
    due = [
        due_audit
        for due_audit in failed
        if due_audit.kind == audit.kind
        and (due_audit.settled_at is not None or due_audit.audit_id == audit.audit_id)
    ]
    for due_audit in due:
        audit_id, job_id = due_audit.audit_id, due_audit.job_id
        lost = _take_pay(
            connection, audit_id, job_id, due_audit.miner_id, due_audit.account_id, audit_id, now
        )
        audits.change(connection, audit_id, enforced=1, forfeited=lost, probability=probability)
        opinions = audits.opinions_of(connection, audit_id)
        if (decision := decision_of(opinions)) is not None:
            sanction = Sanction(f"{probability:.1e}", from_units(lost))
            queue_leaf(connection, opinions[0], opinions, decision, sanction)
    return [proofs.MINER] * len(due)


def _sanction_auditors(
    connection: Connection, context: Context, opinions: list[AuditRecord], now: float
) -> list[str]:
    """Take back the pay for opinions that two others have refuted, if chance cannot explain the auditor's failures."""
    settings = section_of(context.settings, AuditSettings)
    decision = decision_of(opinions)
    odd_ones = () if decision is None else decision.odd_ones
    sanctioned = []
    for opinion in opinions:
        # Only auditors that two others have refuted are measured.
        if opinion.auditor_id not in odd_ones or opinion.audit_job_id is None or not settings.enforce:
            continue
        counts = proofs.find(
            connection, opinion.auditor_id, proofs.AUDITOR, opinion.service, opinion.model
        ).organic
        if not is_proven(counts, settings.false_positive_bound):
            continue
        locks.statistics(connection, [opinion.auditor_id])
        job_id = opinion.audit_job_id
        _take_pay(connection, opinion.audit_id, job_id, opinion.auditor_id, funds.AUDITS, job_id, now)
        sanctioned.append(proofs.AUDITOR)
    return sanctioned


def _take_pay(
    connection: Connection,
    audit_id: str,
    job_id: str,
    miner_id: str,
    account_id: str,
    subject: str,
    now: float,
) -> int:
    """Take the pay and the reputation of a wrong result from its miner. Return what it lost. The forfeit is the only one for its subject."""
    lost = funds.take_back(
        connection,
        tx_id=_tx_id(subject),
        job_id=job_id,
        account_id=account_id,
        miner_id=miner_id,
        note=f"{audit_id}: the result of {job_id} was wrong",
        now=now,
    )
    less = MinerStatistics(earned=-lost)
    work = Work(miner_id, funds.VERDICTS, less, success=False, weight=SANCTION_WEIGHT)
    miner_stats.add(connection, [work], now)
    log.warning("audit_sanction", audit_id=audit_id, miner_id=miner_id, job_id=job_id)
    return lost


def _tx_id(subject: str) -> str:
    """Return the id of the only forfeit for an audit or an audit job."""
    prefix, _, suffix = subject.partition("_")
    return f"tx_{suffix}" if prefix == "audit" else f"tx_{suffix}f"
