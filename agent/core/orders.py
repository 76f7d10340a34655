"""What owners order their miners to do, and which order replaces an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class OrderKind(StrEnum):
    """The kinds of orders."""

    PAUSE = "pause"
    RESUME = "resume"
    FETCH_MODEL = "fetch_model"
    REMOVE_MODEL = "remove_model"


@dataclass(frozen=True, slots=True)
class Order:
    """An order that concerns one GPU (by its UUID), the whole miner, or a model. `seconds` is how long a pause lasts."""

    kind: OrderKind
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None

    def replaces(self, former: Order) -> bool:
        """Return whether this order makes an earlier one obsolete, because both concern the same GPU or model."""
        same = (self.gpu, self.model) == (former.gpu, former.model)
        return same and (self.kind in _PAUSES) == (former.kind in _PAUSES)


_PAUSES: Final = frozenset({OrderKind.PAUSE, OrderKind.RESUME})
