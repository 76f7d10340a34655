"""Whether jobs of a model are worth their electricity, from what earlier ones have consumed here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from aitbc.figures import amounts

JOULES: Final = 3_600_000
"""Of a kilowatt-hour."""
LEAST_JOBS: Final = 3
"""So many jobs of a model must have been measured. The first one also loads it."""
WEIGHT: Final = 0.95
"""What each further job leaves of the weight of the earlier ones, so that about the last twenty count."""
VALID_SECONDS: Final = 30 * 86_400
"""After this time a model is measured again: drivers, engines and limits change."""
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class Consumption:
    """What the latest completed jobs of a model took together: `units` of its service, `seconds` of a device, `joules`."""

    jobs: int
    units: float
    seconds: float
    joules: float
    measured_at: float

    def plus(self, units: float, seconds: float, joules: float, now: float) -> Consumption:
        """Return the consumption with one more job."""
        return Consumption(
            self.jobs + 1,
            self.units * WEIGHT + units,
            self.seconds * WEIGHT + seconds,
            self.joules * WEIGHT + joules,
            now,
        )

    def is_current(self, now: float) -> bool:
        """Whether it is not too old."""
        return now - self.measured_at < VALID_SECONDS

    def is_known(self, now: float) -> bool:
        """Whether it is enough for a decision."""
        return self.jobs >= LEAST_JOBS and self.seconds > 0 and self.is_current(now)


FIRST: Final = Consumption(0, 0.0, 0.0, 0.0, 0.0)
"""The consumption before the first job."""


@dataclass(frozen=True, slots=True)
class Terms:
    """`electricity` is the price of a kilowatt-hour in credits, `fee` the operator's share (0 to 1), and `minimum` the least profit an hour."""

    electricity: float
    fee: float
    minimum: Decimal

    def refusal(self, consumption: Consumption, unit_price: Decimal) -> str | None:
        """Return why a model at this price is not worth its electricity, None if it is."""
        hours = consumption.seconds / _HOUR
        earned = consumption.units * float(unit_price) * (1 - self.fee) / hours
        cost = consumption.joules / JOULES * self.electricity / hours
        # Computed from floats, which must not refuse a price that is exactly enough.
        if earned - cost >= float(self.minimum) - 1e-9 * max(1.0, abs(cost)):
            return None
        return (
            f"An hour of it earns {in_credits(earned)} and costs {in_credits(cost)} of electricity now; "
            f"miner.energy.minimum_profit is {self.minimum:f}."
        )


def in_credits(amount: float) -> str:
    """Return an amount for people."""
    return amounts.in_credits(f"{amount:.8f}")
