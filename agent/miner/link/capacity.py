"""The free capacity that the link announces, shared between the WebSocket and a long poll that is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Announcement:
    """Free slots, and the free capacity of running batches: `{"service", "model", "free"}` each."""

    slots: int = 0
    batch_capacity: tuple[Mapping[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return self.slots > 0 or bool(self.batch_capacity)


class LinkCapacity:
    """What is `free`, and the part of it that a poll has `requested`. `changed` is set with every change."""

    def __init__(self) -> None:
        self.free = Announcement()
        self.requested = Announcement()
        self.changed = asyncio.Event()

    def set(self, slots: int, batch_capacity: Sequence[Mapping[str, Any]]) -> None:
        """Set the free capacity."""
        self.free = Announcement(slots, tuple(batch_capacity))
        self.changed.set()

    def use_slot(self) -> None:
        """Count a lease that has arrived, until the next `set`, so that its slot is not announced twice."""
        self.free = Announcement(max(0, self.free.slots - 1), self.free.batch_capacity)

    def receive(self) -> None:
        """Count a lease that a poll has brought."""
        self.requested = Announcement(self.requested.slots - 1, self.requested.batch_capacity)

    def unrequested(self) -> Announcement:
        """Return what the WebSocket may announce: the free capacity without what a poll has requested."""
        return Announcement(
            max(0, self.free.slots - self.requested.slots),
            () if self.requested.batch_capacity else self.free.batch_capacity,
        )
