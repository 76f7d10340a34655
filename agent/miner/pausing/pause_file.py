"""What must survive the daemon of pauses: its owner's word, and which commands of the coordinator it has executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

WHOLE: Final = "miner"
"""Stands for the whole miner among the GPUs' UUIDs."""
MAX_OBEYED: Final = 200
"""How many commands are remembered; a coordinator has at most 100 waiting."""

_log = structlog.get_logger(__name__)


class Kept(BaseModel):
    """The file's content. `hand` says what is paused by hand and until when (seconds since the epoch; None: until resumed).

    `skipped` is until when a schedule is ignored because its owner resumed; `executed` are commands that are not carried out
    again.
    """

    model_config = ConfigDict(frozen=True)

    hand: dict[str, float | None] = {}
    skipped: dict[str, float] = {}
    executed: tuple[str, ...] = ()

    def at(self, now: float) -> Kept:
        """The same without what is over."""
        return Kept(
            hand={scope: until for scope, until in self.hand.items() if until is None or until > now},
            skipped={scope: until for scope, until in self.skipped.items() if until > now},
            executed=self.executed[-MAX_OBEYED:],
        )


def read(path: Path) -> Kept:
    """What a former life wrote; nothing if there is no such file, or if it is damaged."""
    try:
        return Kept.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Kept()
    except (OSError, ValidationError) as error:
        _log.error("pauses_lost", path=str(path), error=type(error).__name__)
        return Kept()


def write(path: Path, kept: Kept) -> None:
    """Replace the file in one step; it survives a loss of power. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(kept.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
