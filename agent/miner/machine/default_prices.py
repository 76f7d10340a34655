"""Default prices: those at which a busy hour of a machine earns a target, by its speed in the service's metering unit."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

SECONDS_AN_HOUR: Final = 3600
USUAL_RATES: Final = {
    "second": 1.0,
    "audio second": 10.0,
    "token": 25.0,
    "character": 50.0,
    "megapixel-step": 0.5,
    "megapixel-sample": 2.0,
    "output second-megapixel": 10.0,
}
"""Units per second of a machine without a GPU, roughly. They apply only until `aitbc-agent bench` has measured the machine."""
USUAL_BATCH_PRICE: Final = 0.5
"""The lowest share of a default price for which jobs of batches run."""


def price_for(per_hour: Decimal, units_per_second: float) -> Decimal:
    """Return the price of a unit at which a busy hour earns `per_hour`."""
    return per_hour / (Decimal(repr(units_per_second)) * SECONDS_AN_HOUR)


def usual_price(per_hour: Decimal, unit: str) -> Decimal:
    """Return the price of a unit on a machine of usual speed; an unknown unit is priced like a second."""
    return price_for(per_hour, USUAL_RATES.get(unit, 1.0))
