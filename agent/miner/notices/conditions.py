"""Which notices are due: each event once, and not again within a quiet period. Pure: conditions and the clock in, notices out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that the owner should know about while it lasts. `subject` is the GPU's UUID, or "" for the machine; `text` says what to do."""

    kind: str
    subject: str
    text: str

    @property
    def key(self) -> str:
        """What identifies it among conditions."""
        return f"{self.kind} {self.subject}".rstrip()


class NoticeState(BaseModel, defer_build=True):
    """What survives a restart; times in seconds since the epoch.

    `since` is when each present condition began, `notified` those whose notice was sent, `sent` when a notice of each condition was last sent,
    and `idle_seconds` how long the machine has earned nothing.
    """

    model_config = ConfigDict(frozen=True)

    since: dict[str, float] = {}
    notified: frozenset[str] = frozenset()
    sent: dict[str, float] = {}
    idle_seconds: float = 0.0

    def seen(self, conditions: Sequence[Condition], now: float) -> NoticeState:
        """Return the state with these conditions and no others: those that have ended may be notified again."""
        keys = {condition.key for condition in conditions}
        return self.model_copy(
            update={
                "since": {key: self.since.get(key, now) for key in keys},
                "notified": self.notified & keys,
            }
        )

    def due(
        self, conditions: Sequence[Condition], now: float, *, hold: float, quiet: float
    ) -> list[Condition]:
        """Return the conditions to notify now: those that have lasted for `hold` seconds, unless one was sent within `quiet` seconds."""
        return [
            condition
            for condition in conditions
            if condition.key not in self.notified
            and now - self.since.get(condition.key, now) >= hold
            and not 0 <= now - self.sent.get(condition.key, float("-inf")) < quiet
        ]

    def with_sent(self, condition: Condition, now: float, *, quiet: float) -> NoticeState:
        """Return the state after a notice was sent. Entries that no longer matter are dropped."""
        sent = {key: at for key, at in self.sent.items() if now - at < quiet}
        return self.model_copy(
            update={
                "notified": self.notified | {condition.key},
                "sent": {**sent, condition.key: now},
            }
        )
