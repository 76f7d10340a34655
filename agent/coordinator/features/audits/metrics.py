"""The metrics of audits."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, proofs
from agent.coordinator.operations.context import Connection, Context
from agent.metrics import Metric, Values
from agent.sections import section_of

VERDICTS: Final = Metric(
    "aitbc_coordinator_audit_verdicts_total", "counter",
    "Decided audits and second opinions, by kind (check, canary, second_opinion) and verdict (pass, fail, unproven).", ("kind", "verdict"),
)  # fmt: skip
SANCTIONS: Final = Metric(
    "aitbc_coordinator_audit_sanctions_total", "counter", "Results and opinions that were proven wrong and whose pay was forfeited, by role (miner, auditor).",
    ("role",),
)  # fmt: skip
UNPROVEN: Final = Metric(
    "aitbc_coordinator_audit_unproven_opinions_total", "counter",
    "Opinions of auditors that prove nothing. `aitbc-agent audits list` shows whose. Not reset by a restart.", read=True,
)  # fmt: skip
BUDGET_USED: Final = Metric(
    "aitbc_coordinator_audit_budget_used_ratio",
    "gauge",
    "What audits and canaries of the last day cost or may still cost, as a share of audits.budget_per_day.",
    read=True,
)
OPEN: Final = Metric(
    "aitbc_coordinator_audits_open", "gauge", "Opinions requested from auditors and not yet received.", read=True
)  # fmt: skip
METRICS: Final = (VERDICTS, SANCTIONS, UNPROVEN, OPEN, BUDGET_USED)


def read(connection: Connection, context: Context, now: float) -> dict[Metric, Values]:
    """Return the values of all metrics that are read."""
    return {
        OPEN: {(): audits.undecided(connection)},
        UNPROVEN: {(): proofs.unproven_opinions(connection)},
        BUDGET_USED: {(): funds.budget_used(connection, section_of(context.settings, AuditSettings), now)},
    }
