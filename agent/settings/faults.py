"""What is wrong with settings: where it stands, why it is refused, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.core.errors import ConfigurationError

SourceName = Literal["default", "file", "environment", "flag"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from."""

    source: SourceName
    place: str = ""
    """The file's path or the variable's name; empty for defaults and flags."""
    line: int | None = None
    """Line of the file, from 1; None where it is not known."""

    def __str__(self) -> str:
        match self.source:
            case "file":
                return f"{self.place}, line {self.line}" if self.line else self.place
            case "environment":
                return f"environment variable {self.place}"
            case source:
                return source


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    key: str
    """The setting as it was written; empty where a file as a whole cannot be read."""
    message: str
    suggestion: str | None
    origin: Origin

    def __str__(self) -> str:
        told = " ".join(filter(None, (f"{self.subject}{self.message}", self.suggestion)))
        return told if self.key == self.origin.place else f"{told} ({self.origin})"

    @property
    def subject(self) -> str:
        """The beginning of a sentence about it."""
        return f"{self.key}: " if self.key else ""

    @property
    def place(self) -> tuple[str, int, str]:
        """Orders faults as somebody finds them who goes through the file, then through the environment."""
        return ("" if self.origin.source == "file" else self.origin.place, self.origin.line or 0, self.key)


class SettingsRefused(ConfigurationError):
    """Settings are wrong; the message has a line for each fault."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: Sequence[Fault] = tuple(sorted(faults, key=lambda fault: fault.place))
        super().__init__("\n".join(str(fault) for fault in self.faults))
