"""The saved state of pauses: manual overrides, and the coordinator's commands that were executed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.atomic_file import replace_file

WHOLE: Final = "miner"
"""The key of the whole miner, among the UUIDs of GPUs."""
MAX_EXECUTED: Final = 200
"""How many executed commands are saved; a coordinator has at most 100 waiting."""

_log = structlog.get_logger(__name__)


class SavedPauses(BaseModel, defer_build=True):
    """The file's content. Times are seconds since the epoch.

    `hand` are manual pauses, with their end or None; `skipped` is until when a schedule is ignored because the owner
    resumed; `executed` are commands that are not executed again.
    """

    model_config = ConfigDict(frozen=True)

    hand: dict[str, float | None] = {}
    skipped: dict[str, float] = {}
    executed: tuple[str, ...] = ()

    def at(self, now: float) -> SavedPauses:
        """Return the state without expired entries."""
        return SavedPauses(
            hand={scope: until for scope, until in self.hand.items() if until is None or until > now},
            skipped={scope: until for scope, until in self.skipped.items() if until > now},
            executed=self.executed[-MAX_EXECUTED:],
        )


def read(path: Path) -> SavedPauses:
    """Return the state that an earlier daemon saved; an empty one if the file is missing or damaged."""
    try:
        return SavedPauses.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return SavedPauses()
    except (OSError, ValidationError) as error:
        _log.error("pauses_lost", path=str(path), error=type(error).__name__)
        return SavedPauses()


def write(path: Path, saved: SavedPauses) -> None:
    """Replace the file atomically and durably. Raises `OSError`."""
    replace_file(path, saved.model_dump_json(indent=1).encode())
