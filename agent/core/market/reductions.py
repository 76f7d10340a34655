"""Prices of jobs that cost less than others because nobody waits for them."""

from __future__ import annotations

from typing import Any, Final

from agent.core.market.ledger import MILLION

LOWEST_SHARE: Final = "batch_price"
"""Feature of a service: the lowest share of its price, from 0 to 1, for which its miner runs such jobs."""


def reduced(price: int, share_ppm: int | None, lowest_share: Any) -> int:
    """Return the price of a unit, in units of 1e-8: the job's share of it in parts per million, but not less than its miner agrees to.

    A miner that reports no lowest share, such as one of an earlier version, gets all of its price.
    """
    if share_ppm is None:
        return price
    agrees = isinstance(lowest_share, float | int) and 0 <= lowest_share <= 1
    lowest_ppm = round(lowest_share * MILLION) if agrees else MILLION
    # Rounded up, so that the smallest prices do not become nothing.
    return -(-price * max(share_ppm, lowest_ppm) // MILLION)
