"""What `aitbc-agent doctor` finds out, and the checks that features add to it.

The `checks.py` of a feature has `KINDS`, a table of kinds of problems, and `check`, a function that returns diagnostics for settings. It is imported
only while the doctor runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from agent import features
from agent.settings import Settings

Severity = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """The outcome of one check. `id` is that of a kind or, for a passed check, the check's; only then `remedy` is None.

    `service` is that which the check was about, if it was about one.
    """

    id: str
    severity: Severity
    message: str
    remedy: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True)
class DiagnosticKind:
    """A kind of problem. A fault stops work or endangers data; a warning reduces earnings or comfort."""

    severity: Literal["warning", "fault"]
    message: str
    remedy: str
    guide: str | None = None
    """Replaces, in the documentation, a remedy that the check fills in entirely."""


def ok(check: str, message: str) -> Diagnostic:
    """Return the diagnostic of a passed check."""
    return Diagnostic(check, "ok", message)


def problem(kinds: Mapping[str, DiagnosticKind], kind_id: str, **words: object) -> Diagnostic:
    """Return a diagnostic of a kind, with its words filled in."""
    kind = kinds[kind_id]
    return Diagnostic(kind_id, kind.severity, kind.message.format(**words), kind.remedy.format(**words))


class Checks(Protocol):
    """A module with checks of a feature's settings."""

    KINDS: Mapping[str, DiagnosticKind]

    def check(self, settings: Settings) -> list[Diagnostic]:
        """Check what the feature needs, if this agent runs a coordinator."""


def feature_checks() -> list[Checks]:
    """Return the checks of all features."""
    return [cast("Checks", module) for module in features.modules("checks")]
