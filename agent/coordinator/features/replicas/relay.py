"""Shows each replica the ports of all others, so that the leader matches all miners, whichever replica they are connected to.

Every replica announces its ports and their free capacity to all others. There, a port of another replica is a `Port` as well, which sends
its leases, cancellations and requests over the bus to the replica that has the connection. So each replica can reach each miner, and a
new leader knows all ports at once.

Leases in transit are counted twice, as always: by the replica with the connection, until its miner has received them, and by the leader, until
that replica has. A lease that cannot be delivered, because the connection has ended or was given too many, is released.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from agent.coordinator.cluster import PortOwner, Relay
from agent.coordinator.features.replicas.bus import ReplicaBus
from agent.coordinator.port import LeaseMessage, Port
from agent.core.errors import ApiError, MinerExcluded, StaleSession, Unauthorized
from agent.core.matching import Batch
from agent.protocol.messages import MAX_SLOTS, Capabilities, Fence, JobId, LongText, ShortText

_REASONS: dict[str, type[ApiError]] = {
    reason.__name__: reason for reason in (MinerExcluded, StaleSession, Unauthorized)
}
"""The reasons for which a session becomes invalid."""


class BusRelay(Relay):
    """Announces this replica's ports, and attaches and detaches those of others at their owner here."""

    def __init__(self, bus: ReplicaBus, owner: PortOwner) -> None:
        self._bus = bus
        self._owner = owner
        self._numbers = count(1)
        self._ours: dict[int, Port] = {}
        self._ids: dict[Port, int] = {}
        # By our port: how many leases each leader has sent for it.
        self._taken: dict[int, Counter[str]] = {}
        self._theirs: dict[tuple[str, int], Port] = {}
        bus.on_joined(self._show_all)
        bus.on_left(self._forget)
        bus.handle("port", self._on_port, Announced)
        bus.handle("free", self._on_free, Capacity)
        bus.handle("ended", self._on_ended, Number)
        bus.handle("lease", self._on_lease, Given)
        bus.handle("cancelled", self._on_cancelled, CancelledLease)
        bus.handle("heartbeat", self._on_heartbeat, Number)
        bus.handle("end", self._on_end, EndedSessions)
        bus.handle("capabilities", self._on_capabilities, Replaced)

    # Our ports.

    def attached(self, port: Port) -> None:
        """Announce one of our ports."""
        number = next(self._numbers)
        self._ours[number], self._ids[port] = port, number
        self._taken[number] = Counter()
        self._bus.send("port", self._announcement(number, port))

    def detached(self, port: Port) -> None:
        """Announce that one of our ports has ended."""
        number = self._ids.pop(port, None)
        if number is not None:
            del self._ours[number], self._taken[number]
            self._bus.send("ended", number)

    def changed(self, port: Port) -> None:
        """Announce the free capacity of one of our ports."""
        number = self._ids.get(port)
        # A miner's capacity changes with each job; without others, nobody needs to know.
        if number is not None and self._bus.peers:
            self._bus.send("free", self._capacity(number, port))

    def _show_all(self, replica_id: str) -> None:
        for number, port in self._ours.items():
            self._bus.send("port", self._announcement(number, port), to=replica_id)

    def _announcement(self, number: int, port: Port) -> dict[str, Any]:
        return {
            **self._capacity(number, port),
            "miner_id": port.miner_id,
            "session": port.session,
            "capabilities": port.capabilities,
        }

    def _capacity(self, number: int, port: Port) -> dict[str, Any]:
        batches = [[*batch, free] for batch, free in port.free.batch_capacity.items()]
        # A copy, since the message is written later: the capacity and the leases that it accounts for belong together.
        leases_by_leader = dict(self._taken[number])
        return {"id": number, "slots": port.free.slots, "batches": batches, "taken": leases_by_leader}

    def _on_lease(self, leader: str, data: Mapping[str, Any]) -> None:
        port, lease = self._ours.get(data["id"]), data["lease"]
        if port is None:
            self._owner.undelivered(data["miner_id"], lease)
            return
        # Counted before the port accepts it: the announcement of the capacity names what it accounts for.
        self._taken[data["id"]][leader] += 1
        # The leader's knowledge was older than this port's, so it learns of the true capacity.
        if not port.give(lease):
            self._owner.undelivered(port.miner_id, lease)
            self.changed(port)

    def _on_cancelled(self, _: str, data: Mapping[str, Any]) -> None:
        if (port := self._ours.get(data["id"])) is not None:
            port.cancelled(data["job_id"], data["fence"])

    def _on_heartbeat(self, _: str, number: int) -> None:
        if (port := self._ours.get(number)) is not None:
            port.heartbeat()

    def _on_end(self, _: str, data: Mapping[str, Any]) -> None:
        why = _REASONS.get(data["reason"], Unauthorized)(data["message"])
        # A copy, since closing a port removes it.
        for port in [*self._ours.values()]:
            if port.miner_id == data["miner_id"] and port.session < data["before"]:
                port.close(why)

    def _on_capabilities(self, _: str, data: Mapping[str, Any]) -> None:
        self._replace_ours(data["miner_id"], data["session"], data["capabilities"])

    def _replace_ours(self, miner_id: str, session: int, capabilities: Mapping[str, Any]) -> bool:
        """Replace the capabilities of a miner's ports here. Return whether there is one."""
        ports = [
            (number, port)
            for number, port in self._ours.items()
            if (port.miner_id, port.session) == (miner_id, session)
        ]
        for number, port in ports:
            port.capabilities = capabilities
            if self._bus.peers:
                self._bus.send("port", self._announcement(number, port))
        return bool(ports)

    # Ports of other replicas.

    def end(self, miner_id: str, before: int, why: ApiError) -> None:
        """Have all others close their connections of a miner's sessions before this one, also those that they are about to announce."""
        self._end(miner_id, before, why, None)

    def _end(self, miner_id: str, before: int, why: ApiError, replica_id: str | None) -> None:
        data = {"miner_id": miner_id, "before": before, "reason": type(why).__name__, "message": why.message}
        self._bus.send("end", data, to=replica_id)

    def replace_capabilities(self, miner_id: str, session: int, capabilities: Mapping[str, Any]) -> None:
        """Replace the capabilities of a miner's ports on all replicas, also of one that another replica is about to announce."""
        if self._replace_ours(miner_id, session, capabilities):
            return
        for port in self._theirs.values():
            if (port.miner_id, port.session) == (miner_id, session):
                port.capabilities = capabilities
        self._bus.send(
            "capabilities", {"miner_id": miner_id, "session": session, "capabilities": capabilities}
        )

    def _on_port(self, replica_id: str, data: Mapping[str, Any]) -> None:
        key = replica_id, data["id"]
        port = self._theirs.get(key)
        if port is not None:
            port.capabilities = data["capabilities"]
            self._on_free(replica_id, data)
            return
        port = self._remote(replica_id, data)
        self._theirs[key] = port
        self._set_free(port, data)
        self._owner.attach_remote(port)

    def _remote(self, replica_id: str, data: Mapping[str, Any]) -> Port:
        number, miner_id, session = data["id"], data["miner_id"], data["session"]
        send = partial(self._bus.send, to=replica_id)

        def deliver(lease: LeaseMessage) -> bool:
            if replica_id not in self._bus.peers:
                return False
            send("lease", {"id": number, "miner_id": miner_id, "lease": lease})
            return True

        return Port(
            miner_id,
            session,
            deliver=deliver,
            cancelled=lambda job_id, fence: send(
                "cancelled", {"id": number, "job_id": job_id, "fence": fence}
            ),
            heartbeat=lambda: send("heartbeat", number),
            close=lambda why: self._end(miner_id, session + 1, why, replica_id),
            capabilities=data["capabilities"],
        )

    def _on_free(self, replica_id: str, data: Mapping[str, Any]) -> None:
        port = self._theirs.get((replica_id, data["id"]))
        if port is not None:
            self._set_free(port, data)
            if port.free:
                self._owner.capacity_freed()

    def _set_free(self, port: Port, data: Mapping[str, Any]) -> None:
        batches: dict[Batch, int] = {(service, model): free for service, model, free in data["batches"]}
        # What the replica had received from this one when it wrote this; later leases are in transit.
        port.set_free(data["slots"], batches, data["taken"].get(self._bus.replica_id, 0))

    def _on_ended(self, replica_id: str, number: int) -> None:
        port = self._theirs.pop((replica_id, number), None)
        if port is not None:
            self._owner.detach_remote(port)

    def _forget(self, replica_id: str) -> None:
        for key in [key for key in self._theirs if key[0] == replica_id]:
            self._owner.detach_remote(self._theirs.pop(key))


Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Of a port, a session or leases; all rise from 0."""


def _complete(capabilities: dict[str, Any]) -> dict[str, Any]:
    return Capabilities.model_validate(capabilities, strict=False).model_dump(mode="json")


Offered = Annotated[dict[str, Any], AfterValidator(_complete)]
"""Capabilities as on the wire."""


class Capacity(TypedDict):
    """The free capacity of a port. `taken` counts the leases by their leader that it accounts for."""

    id: Number
    slots: Annotated[int, Field(ge=0, le=MAX_SLOTS)]
    batches: Annotated[list[tuple[ShortText, ShortText | None, Number]], Field(max_length=MAX_SLOTS)]
    taken: dict[ShortText, Number]


class Announced(Capacity):
    """A port."""

    miner_id: ShortText
    session: Number
    capabilities: Offered


class _Spec(TypedDict):
    model: str | None


class _Lease(TypedDict):
    job_id: JobId
    fence: Fence
    service: ShortText
    spec: _Spec


_lease: TypeAdapter[_Lease] = TypeAdapter(_Lease)


def _claimed(lease: dict[str, Any]) -> dict[str, Any]:
    _lease.validate_python(lease)
    return lease


class Given(TypedDict):
    """A lease for a miner of this replica, whose own agent checks the rest of it."""

    id: Number
    miner_id: ShortText
    lease: Annotated[dict[str, Any], AfterValidator(_claimed)]


class CancelledLease(TypedDict):
    """A lease of a miner of this replica that is void."""

    id: Number
    job_id: JobId
    fence: Fence


class EndedSessions(TypedDict):
    """A miner whose sessions before this number are invalid, and why."""

    miner_id: ShortText
    before: Number
    reason: ShortText
    message: LongText


class Replaced(TypedDict):
    """What a session of a miner offers now."""

    miner_id: ShortText
    session: Number
    capabilities: Offered
