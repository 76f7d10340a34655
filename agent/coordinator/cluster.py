"""What the kernel knows of other coordinators on its database, its replicas: which are alive, which of them leads, and messages to them.

The classes here are those of a coordinator that is alone. A feature replaces them (`Feature.open_cluster`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agent import __version__
from agent.coordinator.port import LeaseMessage, Port
from agent.coordinator.store.database import Database
from agent.core.errors import ApiError

Handler = Callable[[str, Any], None]


class Leadership:
    """Which replica leads: it alone matches jobs with miners, and runs the upkeep and what features do alone.

    Leadership decides who works, not what is correct: for a moment there may be two leaders, when a paused process continues. Every
    transaction is therefore right on any replica. A coordinator that is alone always leads.
    """

    def __init__(self, *, leads: bool) -> None:
        self._leads = leads
        self._changed = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether this replica leads now."""
        return self._leads

    def set(self, *, leads: bool) -> None:
        """Begin or stop leading."""
        if leads != self._leads:
            self._leads = leads
            # A new event for each change: those that wait for the other state must be able to wait again.
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def until(self, *, leads: bool) -> None:
        """Wait until this replica leads, or until it does not."""
        while self._leads != leads:
            await self._changed.wait()


class Bus:
    """Sends to other replicas, and calls the handlers of their messages on the event loop. `peers` are the ids of the other live replicas.

    Nothing waits for a message, and one may be lost: `on_lost` is then called, and its caller reads what it needs again.
    """

    peers: frozenset[str] = frozenset()

    def handle(self, kind: str, handler: Handler, shape: Any) -> None:
        """Call `handler` with the sender's id and the data of each message of a kind, as pydantic reads it as the type `shape`."""

    def on_signal(self, name: str, call: Callable[[], None]) -> None:
        """Call `call` after a signal of another replica."""

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call `call` when messages of other replicas may have been lost."""

    def send(self, kind: str, data: Any, to: str | None = None) -> None:
        """Queue a message to one replica, or to all others. `data` is JSON. It is dropped if that replica has ended."""

    def signal(self, name: str) -> None:
        """Wake all other replicas soon. Several signals of a name may arrive as one, or none; receivers also poll."""

    async def flushed(self) -> None:
        """Wait until all messages queued so far are visible to their receivers, or this replica has no peers."""

    async def drain(self) -> None:
        """Handle all messages that others had sent, and `flushed`, before the call."""


class PortOwner(Protocol):
    """Who matches jobs with ports. `Relay` passes it the ports of other replicas."""

    def attach_remote(self, port: Port) -> None:
        """Add the port of another replica."""

    def detach_remote(self, port: Port) -> None:
        """Remove the port of another replica."""

    def capacity_freed(self) -> None:
        """Do what is possible now that a port of another replica has reported free capacity."""

    def undelivered(self, miner_id: str, lease: LeaseMessage) -> None:
        """Release a lease that another replica has sent for a port of this one, which cannot deliver it."""


class Relay:
    """Shows other replicas the ports of this one."""

    def attached(self, port: Port) -> None:
        """Announce one of our ports."""

    def detached(self, port: Port) -> None:
        """Announce that one of our ports has ended."""

    def changed(self, port: Port) -> None:
        """Announce the free capacity of one of our ports."""

    def end(self, miner_id: str, before: int, why: ApiError) -> None:
        """Have all others close their connections of a miner's sessions before this one, also those that they are about to announce."""

    def replace_capabilities(self, miner_id: str, session: int, capabilities: Mapping[str, Any]) -> None:
        """Replace the capabilities of a miner's ports on the other replicas, also of one that another replica is about to announce."""


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

    `obstacle` is why this replica has not joined, as far as that is known.
    """

    leadership: Leadership
    slot: int
    obstacle: str | None

    @property
    def bus(self) -> Bus:
        """The messages between the replicas."""

    @property
    def members(self) -> Sequence[Member]:
        """The live replicas as last seen, this one included."""

    def relay(self, owner: PortOwner) -> Relay:
        """Share the ports of all replicas. Called once, before the start."""

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

    def relay(self, owner: PortOwner) -> Relay:  # noqa: ARG002 - the protocol's
        """Return a relay without other replicas."""
        return Relay()

    async def joined(self) -> None:
        """Return immediately."""

    async def run(self, report: Callable[[], None]) -> None:  # noqa: ARG002 - the protocol's
        """Wait until cancelled."""
        await asyncio.Event().wait()
