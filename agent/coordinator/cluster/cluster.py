"""The parts by which the replicas of a coordinator know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from agent.coordinator.cluster.bus import Bus
from agent.coordinator.cluster.leadership import Leadership


class Cluster(Protocol):
    """`slot` is a small number that no other live replica has. `run` takes part until cancelled; call `joined` before the start."""

    bus: Bus
    leadership: Leadership
    slot: int

    async def joined(self) -> None:
        """Wait until this replica has joined."""

    async def run(self, report: Callable[[], None]) -> None:
        """Take part until cancelled. Calls `report` regularly."""


class Alone:
    """The cluster of a coordinator whose database no other coordinator uses."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.leadership = Leadership(leads=True)
        self.slot = 0

    async def joined(self) -> None:
        """Return immediately."""

    async def run(self, report: Callable[[], None]) -> None:  # noqa: ARG002 - the protocol's
        """Wait until cancelled."""
        await asyncio.Event().wait()
