"""What owners command their miners to do, and which command replaces an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class CommandKind(StrEnum):
    """The kinds of commands."""

    PAUSE = "pause"
    RESUME = "resume"
    FETCH_MODEL = "fetch_model"
    REMOVE_MODEL = "remove_model"
    CHANGE_SETTINGS = "change_settings"


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """New values of a miner's settings: prices by service (None: the default), the schedule, and the preferred engines.

    A schedule or engines of None stay as they are, and so do the prices of services that are not named.
    """

    prices: Mapping[str, str | None] = field(default_factory=dict)
    schedule: tuple[str, ...] | None = None
    engines: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command that concerns one GPU (by its UUID), the whole miner, a model, or settings. `seconds` is how long a pause lasts."""

    kind: CommandKind
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None
    settings: SettingsChange | None = None

    def replaces(self, former: Command) -> bool:
        """Return whether this command makes an earlier one obsolete, because both concern the same GPU or model."""
        # Each may concern other settings, so a later one does not replace an earlier one.
        if CommandKind.CHANGE_SETTINGS in {self.kind, former.kind}:
            return False
        same_target = (self.gpu, self.model) == (former.gpu, former.model)
        return same_target and (self.kind in _PAUSES) == (former.kind in _PAUSES)


_PAUSES: Final = frozenset({CommandKind.PAUSE, CommandKind.RESUME})
