"""What owners command their miners to do, and which command replaces an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class CommandKind(StrEnum):
    """The kinds of commands."""

    PAUSE = "pause"
    RESUME = "resume"
    FETCH_MODEL = "fetch_model"
    REMOVE_MODEL = "remove_model"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that concerns one GPU (by its UUID), the whole miner, or a model. `seconds` is how long a pause lasts."""

    kind: CommandKind
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None

    def replaces(self, former: Command) -> bool:
        """Return whether this command makes an earlier one obsolete, because both concern the same GPU or model."""
        same = (self.gpu, self.model) == (former.gpu, former.model)
        return same and (self.kind in _PAUSES) == (former.kind in _PAUSES)


_PAUSES: Final = frozenset({CommandKind.PAUSE, CommandKind.RESUME})
