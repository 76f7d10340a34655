"""What opinions and decisions add to the records of miners and of auditors, and what an opinion that proves nothing is paid."""

from __future__ import annotations

from collections.abc import Sequence

from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.rules import (
    AGREEING,
    AuditKind,
    Decision,
    UnprovenCause,
    Verdict,
    looking,
)
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, proofs
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.features.reputation.rules import WITHDRAWN
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.reputation.store.miner_stats import MinerStatistics, Work
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import jobs, locks
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.ledger import payment_id
from agent.sections import section_of


def count_opinion(
    connection: Connection, context: Context, audit: AuditRecord, record: JobRecord, verdict: Verdict
) -> None:
    """Count an auditor's opinion. Of the pay for one that proves nothing, it keeps what looking costs, and no success in its reputation."""
    auditor_id = record.miner_id or ""
    locks.statistics(connection, [auditor_id])
    standing = proofs.find(connection, auditor_id, proofs.AUDITOR, audit.service, audit.model)
    standing = standing.after_opinion(verdict)
    proofs.save(connection, auditor_id, proofs.AUDITOR, audit.service, audit.model, standing)
    # An opinion that proves something keeps its pay.
    if verdict is not Verdict.UNPROVEN:
        return
    now = context.clock()
    source = jobs.find(connection, audit.job_id)
    usual = 0 if source is None else funds.usual_cost(source)
    forfeited = funds.take_back(
        connection,
        tx_id=payment_id(record.job_id) + audits.UNEARNED,
        job_id=record.job_id,
        account_id=funds.AUDITS,
        miner_id=auditor_id,
        note=f"{audit.audit_id}: the opinion proves nothing",
        now=now,
        keep=looking(usual, section_of(context.settings, AuditSettings).prefill_percent),
    )
    # The pay was counted when the audit job was completed.
    less = MinerStatistics(earned=-forfeited)
    miner_stats.add(connection, [Work(auditor_id, funds.AUDITS, less, success=True, weight=WITHDRAWN)], now)


def count_decision(
    connection: Connection, root: AuditRecord, opinions: Sequence[AuditRecord], decision: Decision
) -> None:
    """Count a decision for its miner, and for its auditors whose opinions it confirms or refutes."""
    agreeing = [
        audit.auditor_id for audit in opinions if audit.auditor_id and audit.opinion == decision.verdict
    ]
    # Auditors are measured only against two others that agree: one alone may be wrong itself.
    proven = decision.verdict is not Verdict.UNPROVEN and len(agreeing) >= AGREEING
    auditors = {*agreeing, *decision.odd_ones, *decision.refuted} if proven else set()
    locks.statistics(connection, {root.miner_id, *auditors})
    standing = proofs.find(connection, root.miner_id, proofs.MINER, root.service, root.model)
    standing = standing.after(AuditKind(root.kind), decision.verdict, root.engine, UnprovenCause(root.cause))
    proofs.save(connection, root.miner_id, proofs.MINER, root.service, root.model, standing)
    # In a fixed order, like the locks above.
    for auditor_id in sorted(auditors):
        standing = proofs.find(connection, auditor_id, proofs.AUDITOR, root.service, root.model)
        if auditor_id in decision.refuted:
            standing = standing.after_refutation()
        else:
            standing = standing.after(
                AuditKind.CHECK, Verdict.FAIL if auditor_id in decision.odd_ones else Verdict.PASS, ""
            )
        proofs.save(connection, auditor_id, proofs.AUDITOR, root.service, root.model, standing)
