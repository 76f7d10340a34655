"""What a generated request consists of."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Chance = random.Random
"""The source of all choices of one request, so that its number and the campaign's seed repeat it."""


@dataclass(frozen=True)
class Upload:
    """A file in a body: it is stored as an artifact, and the body names it."""

    content: bytes


@dataclass(frozen=True)
class Request:
    """One request. `kind` says what is wrong with it; `leave_after` are seconds after which the client cancels it or hangs up."""

    service: str
    kind: str
    path: str
    body: dict[str, Any] = field(default_factory=dict)
    form: tuple[dict[str, str], bytes] | None = None
    """Fields and file of a multipart form, which is sent instead of the body."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Files that are stored under the job's own path after its submission, by name."""
    messages: Sequence[str | bytes] = ()
    """Messages on a WebSocket."""
    leave_after: float | None = None


Generate = Callable[[Chance], Request]


def options(chance: Chance, *, seconds: int = 60) -> dict[str, Any]:
    """Draw the options of a job: one attempt, a short time, and rarely less time or money than it needs."""
    drawn: dict[str, Any] = {"timeout_seconds": seconds, "max_attempts": 1}
    if chance.random() < 0.04:
        drawn["timeout_seconds"] = 1
    if chance.random() < 0.04:
        drawn["pricing"] = {"max_cost": chance.choice(["0", "0.00000001", "0.000001"])}
    return drawn


def leaves(chance: Chance) -> float | None:
    """Draw whether the client leaves in the middle, and when."""
    return chance.uniform(0, 1.5) if chance.random() < 0.06 else None
