"""The parts by which the replicas of a coordinator know of each other."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from agent import __version__
from agent.coordinator.cluster.bus import Bus
from agent.coordinator.cluster.leadership import Leadership
from agent.coordinator.store.database import Database


class Member(NamedTuple):
    """A live replica. `joined_at` is in seconds since the epoch."""

    slot: int
    host: str
    version: str
    joined_at: float
    leads: bool


@dataclass(frozen=True, slots=True)
class Installation:
    """What all coordinators of a cluster have in common: the contents of key files by their paths, and where artifacts are."""

    database: Database
    keys: Mapping[Path, bytes]
    artifacts: Path | str
    """A directory, or the URL of a store."""


class Cluster(Protocol):
    """`slot` is a small number that no other live replica has. `run` takes part until cancelled; call `joined` before the start.

    `members` are the live replicas as last seen, and `obstacle` is why this one has not joined, as far as that is known.
    """

    bus: Bus
    leadership: Leadership
    slot: int
    obstacle: str | None

    @property
    def members(self) -> Sequence[Member]:
        """The live replicas, this one included."""

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
        self.obstacle: str | None = None
        self.members: Sequence[Member] = (
            Member(0, socket.gethostname(), __version__, time.time(), leads=True),
        )

    async def joined(self) -> None:
        """Return immediately."""

    async def run(self, report: Callable[[], None]) -> None:  # noqa: ARG002 - the protocol's
        """Wait until cancelled."""
        await asyncio.Event().wait()
