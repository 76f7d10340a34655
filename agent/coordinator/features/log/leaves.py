"""The leaves of receipts and settlements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.coordinator import consequences
from agent.coordinator.consequences import Change
from agent.coordinator.features.log import store
from agent.coordinator.features.log.store import NewLeaf
from agent.coordinator.hooks import AcceptedResult
from agent.coordinator.operations.context import Context
from agent.coordinator.store.database import Connection
from agent.core.jobs import JobState
from agent.core.market.ledger import JobSettlement
from agent.core.values.quantities import format_time, from_units
from aitbc.leaves.settlement import Settlement as LoggedSettlement
from aitbc.leaves.settlement import transaction_id
from aitbc.receipts import receipt_id


def jobs_changed(
    connection: Connection, changes: Sequence[Change], settlements: Mapping[str, JobSettlement], now: float
) -> None:
    """Queue the settlements of ended jobs."""
    settled = [
        NewLeaf(transaction_id(item.life.job_id), _logged(item, settlement, now).to_leaf())
        for item in changes
        # Changes that settle nothing, such as the start of a run, are not logged.
        if (settlement := settlements.get(item.life.job_id)) is not None
    ]
    store.queue(connection, settled)


def results_accepted(
    connection: Connection, _context: Context, results: Sequence[AcceptedResult], _now: float
) -> None:
    """Queue the receipts of results."""
    store.queue(connection, [NewLeaf(result.receipt_id, result.leaf, derived=True) for result in results])


def _logged(item: Change, settlement: JobSettlement, now: float) -> LoggedSettlement:
    job_id, state = item.before.job_id, item.life.state
    return LoggedSettlement(
        job_id=job_id,
        receipt_id=receipt_id(job_id) if state is JobState.COMPLETED else None,
        miner_id=consequences.payee(item, settlement),
        outcome=state.value,
        held=from_units(settlement.held),
        paid=from_units(settlement.paid),
        fee=from_units(settlement.fee),
        refunded=from_units(settlement.refunded),
        settled_at=format_time(now),
    )
