"""Errors in settings: where each value was set, why it is invalid, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.core.errors import ConfigurationError
from agent.sections import EXTENSIONS
from runners.extras import extra_command

SourceName = Literal["default", "file", "environment", "flag"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set."""

    source: SourceName
    location: str = ""
    """The file's path or the variable's name; empty for defaults and flags."""
    line: int | None = None
    """The line in the file, counted from 1; None if it is unknown."""

    def __str__(self) -> str:
        match self.source:
            case "file":
                return f"{self.location}, line {self.line}" if self.line else self.location
            case "environment":
                return f"environment variable {self.location}"
            case source:
                return source


@dataclass(frozen=True, slots=True)
class SettingError:
    """One error, and how to correct it."""

    key: str
    """The setting as it was written; empty if the whole file cannot be read."""
    message: str
    suggestion: str | None
    origin: Origin

    def __str__(self) -> str:
        text = " ".join(filter(None, (f"{self.subject}{self.message}", self.suggestion)))
        return text if self.key == self.origin.location else f"{text} ({self.origin})"

    @property
    def subject(self) -> str:
        """The key as the beginning of a message."""
        return f"{self.key}: " if self.key else ""

    @property
    def position(self) -> tuple[str, int, str]:
        """The sort key of errors: in the order of the file, then by environment variable."""
        location = "" if self.origin.source == "file" else self.origin.location
        return location, self.origin.line or 0, self.key


class InvalidSettings(ConfigurationError):
    """Settings are invalid; the message has a line for each error."""

    def __init__(self, errors: Iterable[SettingError]) -> None:
        self.errors: Sequence[SettingError] = tuple(sorted(errors, key=lambda error: error.position))
        super().__init__("\n".join(str(error) for error in self.errors))


def missing_extension(key: str) -> tuple[str, str] | None:
    """Return the message and the remedy if a key is of an extension's table; call it only for keys that do not exist."""
    extra = next(
        (extra for table, extra in EXTENSIONS.items() if key == table or key.startswith(f"{table}.")), None
    )
    if extra is None:
        return None
    return "the extension with this setting is not installed.", f"Install it: {extra_command(extra)}."
