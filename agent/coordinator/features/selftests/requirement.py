"""Refuses new miners without the self-test that the operator requires. Miners that have joined stay."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.selftests.settings import SelftestRequirement
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.context import Connection, Context
from agent.core.errors import Forbidden
from agent.protocol.messages import Selftest
from agent.sections import section_of

DAY: Final = 86_400
_TEST: Final = "Run `aitbc-agent selftest` on the machine, fix what it names, and start the agent again."


def miner_reported(_connection: Connection, context: Context, report: MinerReport) -> None:
    """Raise `Forbidden` for a miner that joins without a self-test that passed lately."""
    requirement = section_of(context.settings, SelftestRequirement)
    if not report.joins or not requirement.require_selftest or report.capabilities is None:
        return
    reason = _lack(report.capabilities.selftest, context.clock(), requirement.selftest_days)
    if reason is not None:
        raise Forbidden(
            f"This coordinator accepts only miners that have passed a self-test. {reason} {_TEST}"
        )


def _lack(selftest: Selftest | None, now: float, days: float) -> str | None:
    if selftest is None:
        return "This one reports none."
    if selftest.verdict != "passed":
        return f"This one failed: {' '.join(selftest.problems)}".strip()
    return None if now - selftest.began_at <= days * DAY else f"This one's is older than {days:g} days."
