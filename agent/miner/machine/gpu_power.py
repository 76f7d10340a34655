"""The power and the energy of a card, as NVML reports them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pynvml

from agent.miner.machine.gpu_health import optional

_MILLI: Final = 1000


@dataclass(frozen=True, slots=True)
class CardPower:
    """What a card has consumed: `joules` since its driver was loaded, and `watts` now; None if it does not report them.

    `card` identifies it: the slices of a card have one counter.
    """

    card: str
    joules: float | None
    watts: float | None


def read_power(index: int) -> CardPower:
    """Return the power of the card with this index of NVML, which must be connected. Raises nothing."""
    handle = optional(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    # Cards before Volta have no counter.
    millijoules = optional(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    milliwatts = optional(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    return CardPower(
        card=str(index),
        joules=None if millijoules is None else millijoules / _MILLI,
        watts=None if milliwatts is None else milliwatts / _MILLI,
    )
