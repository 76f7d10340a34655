"""Who can give another opinion: never the audited miner, its owner's others, or those that have given one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from agent.coordinator.dispatch.fleet import known_miners
from agent.coordinator.features.audits.rules import Verdict
from agent.coordinator.features.audits.store import proofs
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import jobs, miners, queue
from agent.core.feasibility import KnownMiner, checks
from agent.core.matching import Restrictions


def independent(
    connection: Connection, context: Context, opinions: Sequence[AuditRecord], now: float
) -> tuple[Restrictions, list[KnownMiner]]:
    """Return the restrictions of an audit job for another opinion, and the auditors within them that are online."""
    source = jobs.find(connection, opinions[0].job_id)
    restrictions = Restrictions(
        audit=True,
        excluded=_concerned(connection, opinions),
        min_reputation=0.0 if source is None else queue.restrictions_of(source).min_reputation,
    )
    return restrictions, [
        miner
        for miner in known_miners(connection, context.settings, now)
        if miner.online
        and miner.miner_id not in restrictions.excluded
        and miner.candidate.reputation >= restrictions.min_reputation
        and checks(miner, opinions[0].service)
    ]


def is_doubted(opinions: Sequence[AuditRecord]) -> bool:
    """Return whether a further opinion is worth waiting for: not if the others prove nothing, or pass after one that does not."""
    verdicts = [audit.opinion for audit in opinions if audit.opinion is not None]
    return not verdicts or verdicts[0] != Verdict.UNPROVEN or Verdict.FAIL in verdicts


def preferred(
    connection: Connection,
    audit: AuditRecord,
    restrictions: Restrictions,
    auditors: list[KnownMiner],
    *,
    recheck: bool,
) -> tuple[Restrictions, list[KnownMiner]]:
    """Leave out auditors whose owner has just failed to answer, and those that prove nothing, as far as others are online.

    With `recheck`, the latter are asked too: they may have become able to compare.
    """
    failed = _fleets(connection, {audit.auditor_id} if audit.auditor_id else set())
    useless = set() if recheck else proofs.useless_auditors(connection, audit.service, audit.model)
    # Those that prove nothing are still better than nobody; those that failed just now come last.
    for avoided in (failed | useless, failed):
        remaining = [miner for miner in auditors if miner.miner_id not in avoided]
        if remaining:
            return replace(restrictions, excluded=restrictions.excluded | avoided), remaining
    return restrictions, auditors


def _concerned(connection: Connection, opinions: Sequence[AuditRecord]) -> frozenset[str]:
    """Return the audited miner, the auditors that have given an opinion, and all others of their owners."""
    # One owner must not decide an audit with two miners, nor check its own.
    gave = {audit.auditor_id for audit in opinions if audit.auditor_id and audit.opinion is not None}
    return _fleets(connection, {opinions[0].miner_id, *gave})


def _fleets(connection: Connection, miner_ids: Collection[str]) -> frozenset[str]:
    """Return these miners, and all others of their owners."""
    fleets = (miners.fleet(connection, miner_id) for miner_id in miner_ids)
    return frozenset(miner_ids).union(miner.miner_id for fleet in fleets for miner in fleet)
