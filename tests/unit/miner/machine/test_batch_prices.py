"""Prices of jobs for which nobody waits: never below what the miner agrees to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent.core.market.reductions import reduced
from agent.core.values.quantities import Money
from agent.miner.machine.capabilities import lowest_share
from agent.miner.settings import MinerSettings

HALF = 500_000


@pytest.mark.parametrize(
    ("lowest", "price"),
    [(0.5, 500), (0.2, 500), (0.8, 800), (1, 1000), (None, 1000), ("0.1", 1000), (-1, 1000), (2, 1000), (float("nan"), 1000)],
)  # fmt: skip
def test_a_miner_gets_at_least_the_share_that_it_reports(lowest: Any, price: int) -> None:
    """All of its price if it reports none, as before version 0.3, or nonsense."""
    assert reduced(1000, HALF, lowest) == price


def test_other_jobs_cost_the_price_and_the_smallest_price_stays_one() -> None:
    assert reduced(1000, None, 0.5) == 1000
    assert reduced(1, HALF, 0.0) == 1


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 0.5),
        ({"prices": {"text_embedding": Money("1")}}, 1.0),
        ({"prices": {"llm_inference": Money("1")}}, 0.5),
        ({"default_price": Money("1")}, 1.0),
        ({"default_price": Money("1"), "batch_price": 0.3}, 0.3),
    ],
)
def test_a_price_that_the_owner_has_set_is_not_halved(settings: dict[str, Any], share: float) -> None:
    """Unless the owner says so."""
    assert Decimal(lowest_share(MinerSettings(**settings), "text_embedding")) == Decimal(share)
