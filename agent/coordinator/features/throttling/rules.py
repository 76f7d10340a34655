"""Behaviour that is tolerated occasionally and slowed down once it becomes a habit.

A tally counts occurrences, each of which decays with time, so that a habit that ends is forgotten. Times are seconds since the
epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

RELEASES_HALF_LIFE_SECONDS: Final = 3600.0
"""A lease that a miner handed back this long ago counts half. A machine whose owner needs it a few times a day has no habit."""
LONGEST_RELEASE_PAUSE_SECONDS: Final = 3600.0
"""Maximum pause of a miner that keeps handing leases back."""

CLIENT_FAILURES_HALF_LIFE_SECONDS: Final = 600.0
"""A failure that a client caused this long ago counts half, so that a client that corrects its mistake recovers soon."""
MOST_CLIENT_FAILURES: Final = 8
"""Maximum of a client's tally, as a multiple of the tolerated one: it takes three half-lives to fall below that."""

_MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Tally:
    """A decaying count of occurrences, with its value at the time `at`."""

    count: float = 0.0
    at: float = 0.0

    def now(self, now: float, half_life: float) -> float:
        """Return the count at the time `now`."""
        return float(self.count * 0.5 ** (max(0.0, now - self.at) / half_life))

    def below(self, tolerated: float, half_life: float) -> float | None:
        """Return when the count falls to `tolerated`; None if it is not above that."""
        return self.at + half_life * log2(self.count / tolerated) if self.count > tolerated else None

    def with_one(self, now: float, half_life: float) -> Tally:
        """Return the tally after one more occurrence."""
        return Tally(self.now(now, half_life) + 1, max(now, self.at))


def growing_pause(times: float, tolerated: float, first: float) -> float:
    """Return the seconds to pause after `times` occurrences: none up to `tolerated`, then `first`, doubled with each further one."""
    beyond = times - tolerated
    if beyond <= 0:
        return 0.0
    return float(min(first * 2 ** min(beyond, _MOST_DOUBLINGS), LONGEST_RELEASE_PAUSE_SECONDS))
