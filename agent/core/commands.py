"""What owners command their miners to do, and which command makes which former one useless."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class CommandKind(StrEnum):
    """What a miner can be ordered to do."""

    PAUSE = "pause"
    RESUME = "resume"
    FETCH_MODEL = "fetch_model"
    REMOVE_MODEL = "remove_model"


@dataclass(frozen=True, slots=True)
class Command:
    """A command: about one GPU (by its uuid) or the whole miner, or about a model. `seconds` is how long a pause lasts."""

    kind: CommandKind
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None

    def replaces(self, former: Command) -> bool:
        """Whether both are about the same thing: then the former one need not be executed any more."""
        same = (self.gpu, self.model) == (former.gpu, former.model)
        return same and (self.kind in _PAUSES) == (former.kind in _PAUSES)


_PAUSES: Final = frozenset({CommandKind.PAUSE, CommandKind.RESUME})
