"""What owners order their miners to do, and which order makes which former one useless."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class OrderKind(StrEnum):
    """What a miner can be ordered to do."""

    PAUSE = "pause"
    RESUME = "resume"
    FETCH_MODEL = "fetch_model"
    REMOVE_MODEL = "remove_model"


@dataclass(frozen=True, slots=True)
class Order:
    """An order: about one GPU (by its uuid) or the whole miner, or about a model. `seconds` is how long a pause lasts."""

    kind: OrderKind
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None

    def replaces(self, former: Order) -> bool:
        """Whether both are about the same thing: then the former one need not be obeyed any more."""
        same = (self.gpu, self.model) == (former.gpu, former.model)
        return same and (self.kind in _PAUSES) == (former.kind in _PAUSES)


_PAUSES: Final = frozenset({OrderKind.PAUSE, OrderKind.RESUME})
