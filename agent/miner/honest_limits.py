"""Limits of distances that honest runs hardly ever exceed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

DEVIATIONS = 6.0
"""Standard deviations between the mean of honest distances and their limit. Beyond six of a normal distribution lie one in 10^9; real
distributions have longer tails, which is why the greatest distance counts too."""

BEYOND = 1.5
"""How many times the greatest honest distance the limit is at least."""

DIGITS = 6


def honest_limit(distances: Sequence[float], least: float = 0.0) -> float:
    """Return the limit for distances between honest runs, at least `least`."""
    spread = statistics.pstdev(distances)
    return round(
        max(least, BEYOND * max(distances), statistics.fmean(distances) + DEVIATIONS * spread), DIGITS
    )
