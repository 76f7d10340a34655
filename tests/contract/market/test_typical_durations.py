"""The typical durations of runs, which transactions learn together. On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.coordinator.store import receipts
from agent.coordinator.store.database import Connection
from support.server import Served, serve

SERVICE = "llm_inference"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data") as served:
        yield served


def _learn(connection: Connection, transactions: tuple[list[float], ...]) -> float:
    for seconds in transactions:
        receipts.learn_durations(connection, [receipts.CompletedRun(SERVICE, "", one) for one in seconds])
    return receipts.typical_durations(connection)[SERVICE, ""]


def learn(served: Served, *transactions: list[float]) -> float:
    """Learn runs of these seconds, and return the typical duration."""
    return served.do(lambda context: context.database.write(_learn, transactions))


def test_the_first_runs_weigh_the_same(served: Served) -> None:
    """In any division into transactions."""
    assert learn(served, [1.0, 2.0], [3.0], [6.0, 8.0, 10.0]) == pytest.approx(5.0)


def test_later_the_newest_run_weighs_a_tenth(served: Served) -> None:
    """Equal runs of one transaction move the duration as they do one by one."""
    assert learn(served, [4.0] * 10) == pytest.approx(4.0)
    assert learn(served, [14.0]) == pytest.approx(5.0)
    one_by_one = 5.0
    for _ in range(3):
        one_by_one += (15.0 - one_by_one) / 10
    assert learn(served, [15.0] * 3) == pytest.approx(one_by_one)
