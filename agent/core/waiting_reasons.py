"""A reason why a job does not run, as the kernel's hooks pass it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aitbc.reasons import ReasonCode, Who


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """A reason for waiting: what and by how much, who can change it, and how. `miner_ids` are the miners that it concerns."""

    code: ReasonCode
    message: str
    action: str
    details: Mapping[str, Any] = field(default_factory=dict)
    miner_ids: tuple[str, ...] = ()

    @property
    def who(self) -> Who:
        """Who can change it."""
        return self.code.who
