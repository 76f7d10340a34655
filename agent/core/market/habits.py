"""What is tolerated now and then, and slowed down once it becomes a habit.

A tally counts occurrences; each one fades with time, so that a habit that ends is forgotten by itself. Times are seconds since
the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RELEASES_HALF_LIFE_SECONDS: Final = 3600.0
"""A lease that a miner handed back this long ago counts half: a machine that is needed a few times a day has no habit."""
LONGEST_RELEASE_PAUSE_SECONDS: Final = 3600.0
"""Longest pause of a miner that keeps handing leases back."""

CLIENT_FAILURES_HALF_LIFE_SECONDS: Final = 600.0
"""A failure that a client caused this long ago counts half: a client that has corrected its mistake is served as before soon."""
MOST_CLIENT_FAILURES: Final = 8
"""A client's tally does not exceed this many times what is tolerated, so that it is below it after three half-lives."""

_MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something has happened, as it counted at the time `at`."""

    count: float = 0.0
    at: float = 0.0

    def now(self, now: float, half_life: float) -> float:
        """What it counts at the time `now`."""
        return float(self.count * 0.5 ** (max(0.0, now - self.at) / half_life))

    def with_one(self, now: float, half_life: float) -> Tally:
        """The tally after one more occurrence."""
        return Tally(self.now(now, half_life) + 1, max(now, self.at))


def growing_pause(times: float, tolerated: float, first: float, longest: float) -> float:
    """Seconds to pause after so many times: none up to `tolerated`, then `first`, doubled with each further time."""
    beyond = times - tolerated
    if beyond <= 0:
        return 0.0
    return float(min(first * 2 ** min(beyond, _MOST_DOUBLINGS), longest))
