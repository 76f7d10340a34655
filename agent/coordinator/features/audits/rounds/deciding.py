"""Opinions of auditors, and what they decide. Every step is one transaction, so that a crash between two of them loses nothing."""

from __future__ import annotations

import math
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from agent.coordinator import lifecycle
from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.choosing import random_number
from agent.coordinator.features.audits.metrics import VERDICTS
from agent.coordinator.features.audits.rounds import records
from agent.coordinator.features.audits.rounds.auditors import independent, is_doubted
from agent.coordinator.features.audits.rules import (
    AuditKind,
    Decision,
    Opinion,
    UnprovenCause,
    Verdict,
    after_second_opinion,
    decide,
)
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, proofs
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.features.log.store import NewLeaf, queue
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import artifacts, events, jobs, locks, miners
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import ServiceUnavailable
from agent.core.jobs import FINAL, JobState
from agent.core.values.quantities import format_time
from agent.sections import section_of
from aitbc.leaves.verdict import LoggedOpinion, Sanction, comparison_sha256
from aitbc.leaves.verdict import Verdict as LoggedVerdict
from aitbc.receipts import receipt_id

BATCH: Final = 100
MAX_TEXT: Final = 2000
MAX_NAMED: Final = 64
"""Distances that an auditor may report."""
NO_ANSWER: Final = "No auditor could run the comparison."
MALFORMED: Final = "The auditor's answer was malformed."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Ids, a secret random number and a salt for what may follow from an opinion, so that a repeated transaction does the same."""

    audit_id: str
    tx_id: str
    number: float
    salt: str

    @classmethod
    def of(cls, context: Context) -> FollowUp:
        """Return new ones."""
        return cls(context.new_id("audit"), context.new_id("tx"), random_number(), secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """The answer of an auditor."""

    verdict: Verdict
    distances: Mapping[str, float]
    limits: Mapping[str, float]
    position: str
    reason: str
    cause: UnprovenCause = UnprovenCause.OTHER


def parse_answer(results: object) -> AuditAnswer | None:
    """Return the answer in an audit job's results, or None if it is malformed: auditors may lie, or be broken."""
    if not isinstance(results, dict):
        return None
    verdict, position, reason = results.get("verdict"), results.get("where", ""), results.get("reason")
    distances, limits = _figures(results.get("distances")), _figures(results.get("limits"))
    # Everything is checked, since this becomes part of the log and is shown to owners.
    if verdict not in tuple(Verdict) or distances is None or limits is None:
        return None
    if (
        not isinstance(position, str)
        or not isinstance(reason, str)
        or max(len(position), len(reason)) > MAX_TEXT
    ):
        return None
    # They would reach the terminals of owners, and PostgreSQL's text cannot contain NUL.
    if any(
        unicodedata.category(sign) == "Cc"
        for words in (position, reason, *distances, *limits)
        for sign in words
    ):
        return None
    cause = UnprovenCause.MINER if results.get("cause") == UnprovenCause.MINER.value else UnprovenCause.OTHER
    return AuditAnswer(Verdict(verdict), distances, limits, position, reason, cause)


def _figures(value: object) -> dict[str, float] | None:
    if not isinstance(value, dict) or len(value) > MAX_NAMED:
        return None
    for figure in value.values():
        # JSON has no infinity, so the leaf of the log could not contain one.
        if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
            return None
    return {str(name)[:MAX_TEXT]: float(figure) for name, figure in value.items()}


async def collect(context: Context) -> int:
    """Read the opinions of audit jobs that have ended, and apply their decisions. Return how many audits were examined."""
    roots = await context.database.read(audits.answered, BATCH)

    async def read(root: str) -> None:
        decided = await context.database.write(_collect, context, root, FollowUp.of(context))
        for kind, verdict in decided:
            context.monitoring.meter.count(VERDICTS, kind, verdict)

    await one_by_one(roots, read)
    return len(roots)


async def one_by_one(ids: Sequence[str], step: Callable[[str], Awaitable[None]]) -> None:
    """Run a step for each of these audits or canaries. One that fails is logged, and does not stop the others."""
    for record_id in ids:
        try:
            await step(record_id)
        # Without a database, the other steps would fail too.
        except ServiceUnavailable:
            raise
        except Exception:  # its next round may succeed
            log.exception("audit_step_failed", id=record_id)


def _collect(connection: Connection, context: Context, root: str, ids: FollowUp) -> list[tuple[str, str]]:
    opinions = audits.lock(connection, root)
    for audit in opinions:
        if audit.status != audits.RUNNING or audit.opinion is not None or audit.audit_job_id is None:
            continue
        record = jobs.find(connection, audit.audit_job_id)
        if record is None or record.life.finished_at is None:
            continue
        if record.life.state is JobState.COMPLETED:
            answer = _answer_of(connection, audit, record) or unproven(MALFORMED)
            records.count_opinion(connection, context, audit, record, answer.verdict)
            return _answer(connection, context, opinions, audit, record.miner_id, answer, ids)
        # Of another auditor, if there is one.
        if audit.asked < section_of(context.settings, AuditSettings).attempts:
            audits.change(connection, audit.audit_id, status=audits.WAITING, auditor_id=record.miner_id)
            return []
        contested = any(other_audit.opinion not in (None, Verdict.UNPROVEN) for other_audit in opinions)
        return _answer(
            connection, context, opinions, audit, None, unproven(NO_ANSWER), ids, others_can_audit=contested
        )
    return []


def _answer_of(connection: Connection, audit: AuditRecord, record: JobRecord) -> AuditAnswer | None:
    """Return the answer of a completed audit job, None for one that does not count."""
    auditor_id = record.miner_id or ""
    # Two miners may have got the same owner since the auditor was chosen.
    if auditor_id == audit.miner_id or miners.are_of_one_owner(connection, audit.miner_id, auditor_id):
        return None
    text = jobs.results_of(connection, record.job_id)
    return None if text is None else parse_answer(orjson.loads(text))


def unproven(reason: str) -> AuditAnswer:
    """Return the answer in place of one that no auditor gives."""
    return AuditAnswer(Verdict.UNPROVEN, {}, {}, "", reason)


def answer_missing(
    connection: Connection,
    context: Context,
    opinions: Sequence[AuditRecord],
    audit: AuditRecord,
    reason: str,
    ids: FollowUp,
) -> list[tuple[str, str]]:
    """Record that no auditor can give this opinion or another one. Return the kind and the verdict of each decision that follows."""
    return _answer(connection, context, opinions, audit, None, unproven(reason), ids, others_can_audit=False)


def _answer(
    connection: Connection,
    context: Context,
    opinions: Sequence[AuditRecord],
    audit: AuditRecord,
    auditor_id: str | None,
    answer: AuditAnswer,
    ids: FollowUp,
    *,
    others_can_audit: bool = True,
) -> list[tuple[str, str]]:
    """Store an opinion, and everything that it decides. Without `others_can_audit`, nobody can be asked for a further one."""
    now = context.clock()
    audited = jobs.find(connection, audit.job_id)
    if auditor_id is not None and audited is not None and audited.deleted_at is not None:
        # The auditor's words may quote results that the client has deleted in the meantime.
        answer = replace(answer, position="", reason=audits.ERASED)
    values: dict[str, Any] = {
        "auditor_id": auditor_id,
        "opinion": answer.verdict.value,
        "distances": orjson.dumps(answer.distances).decode(),
        "limits": orjson.dumps(answer.limits).decode(),
        "position": answer.position,
        "reason": answer.reason,
        "cause": answer.cause.value,
        "salt": ids.salt,
    }
    if not audit.is_root:
        values |= {"verdict": answer.verdict.value, "status": audits.DECIDED, "decided_at": now}
    audits.change(connection, audit.audit_id, **values)
    opinions = [
        replace(opinion, **values) if opinion.audit_id == audit.audit_id else opinion for opinion in opinions
    ]
    log.info("audit_opinion", audit_id=audit.audit_id, miner_id=audit.miner_id, verdict=answer.verdict.value)
    if audit.kind == AuditKind.SECOND_OPINION:
        return _reconsider(connection, opinions, now)
    return _decide(connection, context, opinions, ids, now, others_can_audit=others_can_audit)


def opinions_for(opinions: Sequence[AuditRecord]) -> list[Opinion]:
    """Return the opinions that decide an audit, which excludes second opinions."""
    return [
        Opinion(audit.auditor_id or "", Verdict(audit.opinion), UnprovenCause(audit.cause))
        for audit in opinions
        if audit.kind != AuditKind.SECOND_OPINION and audit.opinion is not None
    ]


def decision_of(opinions: Sequence[AuditRecord]) -> Decision | None:
    """Return what the opinions of a decided audit have decided."""
    return decide(opinions_for(opinions), others_can_audit=False)


def _decide(
    connection: Connection,
    context: Context,
    opinions: Sequence[AuditRecord],
    ids: FollowUp,
    now: float,
    *,
    others_can_audit: bool,
) -> list[tuple[str, str]]:
    root, verdicts = opinions[0], opinions_for(opinions)
    # Asked only if it matters: an audit that is doubted waits for other auditors anyway.
    if others_can_audit and not is_doubted(opinions):
        others_can_audit = bool(independent(connection, context, opinions, now)[1])
    recheck = ids.number < section_of(context.settings, AuditSettings).recheck_share
    decision = decide(verdicts, recheck=recheck, others_can_audit=others_can_audit)
    if decision is None:
        audits.add(connection, root.another(AuditKind.THIRD, ids.audit_id, now))
        return []
    verdict, cause = decision.verdict, decision.cause
    if verdict is Verdict.UNPROVEN and root.contradiction:
        cause = UnprovenCause.REGISTRATION
    values: dict[str, Any] = {
        "verdict": verdict.value, "cause": cause.value, "status": audits.DECIDED, "decided_at": now, "evidence": None,
    }  # fmt: skip
    audits.change(connection, root.audit_id, **values)
    root = replace(root, **values)
    records.count_decision(connection, root, opinions, decision)
    # The client paid for a verdict. Without one, it gets back what the attempts have not cost.
    complete = verdict is not Verdict.UNPROVEN and all(audit.auditor_id for audit in opinions)
    if not complete and (unspent := funds.unspent(connection, opinions)):
        funds.refund(connection, root.account_id, root.job_id, ids.tx_id, unspent, now)
        audits.change(connection, root.audit_id, charged=root.charged - unspent)
    queue_leaf(connection, root, opinions, decision)
    events.add(connection, [_event(root, now)], now)
    return [(root.kind, verdict.value)]


def _reconsider(connection: Connection, opinions: Sequence[AuditRecord], now: float) -> list[tuple[str, str]]:
    """Apply a second opinion to a decided audit."""
    root = opinions[0]
    second = next(audit for audit in opinions if audit.kind == AuditKind.SECOND_OPINION)
    first_verdict, second_verdict = Verdict(root.verdict or ""), Verdict(second.opinion or "")
    verdict = after_second_opinion(first_verdict, second_verdict)
    # The failure is taken out of the counts by which the miner is sanctioned.
    if verdict is not first_verdict:
        locks.statistics(connection, [root.miner_id])
        standing = proofs.find(connection, root.miner_id, proofs.MINER, root.service, root.model)
        standing = standing.without_failure(AuditKind(root.kind))
        proofs.save(connection, root.miner_id, proofs.MINER, root.service, root.model, standing)
        audits.change(connection, root.audit_id, verdict=verdict.value)
    decided = replace(second, verdict=verdict.value, decided_at=now)
    queue_leaf(connection, decided, [second], Decision(verdict))
    events.add(connection, [_event(replace(root, verdict=verdict.value), now)], now)
    return [(second.kind, second_verdict.value)]


def queue_leaf(
    connection: Connection,
    audit: AuditRecord,
    opinions: Sequence[AuditRecord],
    decision: Decision,
    sanction: Sanction | None = None,
) -> None:
    """Queue the leaf of a decided audit or second opinion, or of the sanction that follows from it."""
    logged = logged_verdict(audit, opinions, decision, sanction)
    reference = audit.audit_id if sanction is None else f"{audit.audit_id}:sanction"
    queue(connection, [NewLeaf(reference, logged.to_leaf())])


def logged_verdict(
    audit: AuditRecord, opinions: Sequence[AuditRecord], decision: Decision, sanction: Sanction | None
) -> LoggedVerdict:
    """Return a decision in the form of the log."""
    second = audit.kind == AuditKind.SECOND_OPINION
    return LoggedVerdict(
        audit_id=audit.audit_id,
        parent=audit.root if second else None,
        kind=audit.kind,
        job_id=audit.job_id,
        miner_id=audit.miner_id,
        service=audit.service,
        model=audit.model or None,
        verdict=decision.verdict.value,
        opinions=tuple(
            LoggedOpinion(
                audit_id=opinion.audit_id,
                kind=opinion.kind,
                receipt_id=None if opinion.auditor_id is None else receipt_id(opinion.audit_job_id or ""),
                verdict=opinion.opinion or Verdict.UNPROVEN.value,
                comparison_sha256=comparison_sha256(
                    orjson.loads(opinion.distances),
                    orjson.loads(opinion.limits),
                    opinion.position,
                    opinion.reason,
                    opinion.salt,
                ),
            )
            for opinion in opinions
            if second or opinion.kind != AuditKind.SECOND_OPINION
        ),
        odd_ones=decision.odd_ones,
        sanction=sanction,
        decided_at=format_time(audit.decided_at or 0.0),
    )


def delete_data(connection: Connection, audit_job_id: str, now: float) -> None:
    """Delete the copy of a job's data in an audit job that has ended. Its receipt and its payment remain."""
    record = jobs.lock(connection, audit_job_id)
    if record is not None and record.deleted_at is None and record.life.state in FINAL:
        artifacts.release(connection, [audit_job_id], record.account_id)
        lifecycle.delete_data(connection, [record], now)


def _event(root: AuditRecord, now: float) -> NewEvent:
    data = {
        "kind": "audit",
        "audit_id": root.audit_id,
        "job_id": root.job_id,
        "status": audits.DECIDED,
        "verdict": root.verdict,
        "timestamp": format_time(now),
    }
    return NewEvent("marketplace_update", data, root.account_id, root.miner_id, root.job_id)
