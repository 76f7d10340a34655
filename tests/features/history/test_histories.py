"""After each step of random histories, the history has counted every job, and all money that has moved, once."""

from __future__ import annotations

import os
from datetime import date

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from sqlalchemy import func, select

from agent.coordinator.features.history import store
from agent.coordinator.features.history.tables import history
from agent.coordinator.store.database import Connection
from agent.core.jobs import FINAL
from agent.core.market.ledger import FEES, ISSUED
from support.histories.jobs import Histories
from support.histories.snapshot import read_snapshot

pytestmark = pytest.mark.chaos


def figures(connection: Connection) -> dict[str, int]:
    row = connection.execute(select(*(func.sum(history.c[name]) for name in store.COUNTED))).one()
    return dict(zip(store.COUNTED, row, strict=True))


class CountedHistories(Histories):
    """Histories whose figures are checked."""

    @invariant()
    def the_figures_are_right(self) -> None:
        if not self.job_ids:
            return
        snapshot = self.do(self.context.database.read(read_snapshot))
        counted = self.do(self.context.database.read(figures))
        assert counted["submitted"] == len(snapshot.jobs)
        for state in FINAL:
            assert counted[state.value] == snapshot.counts.get(state, 0)
        payments = [record for job_id, record in snapshot.payments.items() if job_id is not None]
        assert counted["paid"] == sum(payment.paid for payment in payments)
        assert counted["fees"] == snapshot.balances.get(FEES, 0)
        assert counted["credited"] - counted["debited"] == -snapshot.balances[ISSUED]


def test_figures_of_random_histories() -> None:
    """Every day has its own histories. Set `HISTORIES_SEED`, which a failure prints, to repeat them."""
    number = int(os.environ.get("HISTORIES_SEED", date.today().toordinal()))  # noqa: DTZ011 - any day will do
    print(f"HISTORIES_SEED={number}")  # noqa: T201 - pytest shows it when the test fails
    seed(number)(CountedHistories)
    run_state_machine_as_test(
        CountedHistories,
        settings=settings(
            max_examples=15,
            stateful_step_count=80,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
