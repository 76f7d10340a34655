"""The report of this machine's latest self-test, as it is stored, shown to its owner, and sent to the coordinator."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.atomic_file import replace_file
from agent.settings import Settings

FILE_NAME: Final = "selftest.json"
MAX_PROBLEMS: Final = 20
"""How many problems a registration names."""
MAX_MESSAGE: Final = 500

RunSelftest = Callable[[Settings, float, Collection[str], Callable[[str], None]], Awaitable["SelftestReport"]]
"""Tests this machine, with so many minutes of load, on these cards or all; it calls a function with a description of each step."""

Outcome = Literal["ok", "warning", "fault", "skipped"]
"""A fault prevents work or makes results doubtful; a warning makes the machine slower than it could be."""

_log = structlog.get_logger(__name__)


class Check(BaseModel, defer_build=True):
    """One check. `card` is the UUID of the card that it is about; `figures` are in bytes, seconds, MHz, watts and degrees Celsius."""

    model_config = ConfigDict(frozen=True)

    name: str
    outcome: Outcome
    message: str
    remedy: str | None = None
    card: str | None = None
    figures: Mapping[str, float] = {}


class SelftestReport(BaseModel, defer_build=True):
    """A self-test. `began_at` is in seconds since the epoch; `cards` are the names of the tested cards by UUID."""

    model_config = ConfigDict(frozen=True)

    began_at: float
    seconds: float
    agent_version: str
    cards: Mapping[str, str]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check has found a fault."""
        return not self.counted["fault"]

    @property
    def verdict(self) -> str:
        """The result in a word."""
        return "passed" if self.passed else "failed"

    @property
    def counted(self) -> Counter[Outcome]:
        """How many checks had each outcome."""
        return Counter(check.outcome for check in self.checks)

    def problems(self) -> Iterator[str]:
        """Yield the messages of all faults, then of all warnings."""
        for outcome in ("fault", "warning"):
            for check in self.checks:
                if check.outcome == outcome:
                    yield (
                        check.message if check.card is None else f"{self.cards[check.card]}: {check.message}"
                    )

    def figures(self, card: str | None) -> dict[str, float]:
        """Return all figures of a card, or with None those of the machine."""
        return {
            name: value
            for check in self.checks
            if check.card == card
            for name, value in check.figures.items()
        }

    def age(self) -> float:
        """Return how many seconds ago it began, 0 if the clock was set back."""
        return max(0.0, time.time() - self.began_at)

    def to_wire(self) -> dict[str, Any]:
        """Return the report as a registration contains it."""
        return {
            "verdict": self.verdict,
            "began_at": self.began_at,
            "seconds": self.seconds,
            "agent_version": self.agent_version,
            "problems": [message[:MAX_MESSAGE] for message in self.problems()][:MAX_PROBLEMS],
            "figures": self.figures(None),
            "cards": [{"uuid": uuid, "figures": self.figures(uuid)} for uuid in self.cards],
        }


def save(directory: Path, report: SelftestReport) -> None:
    """Store the report in the miner's directory. Blocking; raises `OSError`."""
    replace_file(directory / FILE_NAME, report.model_dump_json(indent=2).encode())


def latest(directory: Path) -> SelftestReport | None:
    """Return the latest report of the miner's directory, None if there is none that can be read. Blocking."""
    try:
        return SelftestReport.model_validate_json((directory / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.warning("selftest_not_read", error=str(error)[:500])
        return None


class LatestSelftest:
    """The latest report, which the running miner replaces."""

    def __init__(self, directory: Path) -> None:
        self.report = latest(directory)

    def to_wire(self) -> dict[str, Any] | None:
        """Return it as a registration contains it."""
        return None if self.report is None else self.report.to_wire()
