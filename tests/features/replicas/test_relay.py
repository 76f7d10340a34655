"""The ports of all replicas, as each replica sees them, while messages are in transit between them."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.coordinator.features.replicas.bus import ReplicaBus
from agent.coordinator.features.replicas.relay import BusRelay
from agent.coordinator.port import LeaseMessage, Port
from agent.core.errors import StaleSession
from support.clients.scripted_miner import capabilities

SERVICE = "whisper_transcription"


async def nothing_to_drain() -> None:
    pass


class Replica:
    """A replica's relay, the ports that it knows of others, and what its miner got."""

    def __init__(self, name: str, peer: str) -> None:
        self.bus = ReplicaBus(nothing_to_drain)
        self.bus.replica_id = name
        self.name, self.peer = name, peer
        self.known: list[Port] = []
        self.released: list[str] = []
        self.got: list[Any] = []
        self.in_transit: deque[tuple[str, Any]] = deque()
        self.relay = BusRelay(self.bus, self)

    def attach_remote(self, port: Port) -> None:
        self.known.append(port)

    def detach_remote(self, port: Port) -> None:
        self.known.remove(port)

    def capacity_freed(self) -> None:
        pass

    def undelivered(self, _: str, lease: LeaseMessage) -> None:
        self.released.append(lease["job_id"])

    def port(self, slots: int) -> Port:
        """Attach a port of a miner with free slots."""
        port = Port(
            "miner_a",
            1,
            deliver=self._deliver,
            cancelled=lambda job_id, fence: self.got.append(("cancelled", job_id, fence)),
            heartbeat=lambda: self.got.append("heartbeat"),
            close=lambda why: self.got.append(type(why)),
            capabilities=capabilities(slots=slots),
        )
        port.set_free(slots, {}, 0)
        self.relay.attached(port)
        return port

    def _deliver(self, lease: LeaseMessage) -> bool:
        self.got.append(lease["job_id"])
        return True

    def send(self) -> None:
        outgoing, _, _ = self.bus.take()
        self.in_transit += [(item.kind, item.data) for item in outgoing if item.to in (None, self.peer)]


def pair() -> tuple[Replica, Replica]:
    first, second = Replica("first", "second"), Replica("second", "first")
    first.bus.set_peers(frozenset({"second"}))
    second.bus.set_peers(frozenset({"first"}))
    return first, second


def exchange(*replicas: Replica) -> None:
    """Deliver all messages, also those that are sent in answer."""
    for _ in range(3):
        for sender, receiver in (replicas, replicas[::-1]):
            sender.send()
            while sender.in_transit:
                receiver.bus.received(sender.name, *sender.in_transit.popleft())


def lease(number: int) -> LeaseMessage:
    return {"job_id": f"job_{number}", "fence": 1, "service": SERVICE, "spec": {"model": "base"}}


def test_a_connection_ends_even_if_it_was_not_announced_yet() -> None:
    """A newer session begins on another replica before that knows of the connection."""
    other, holder = pair()
    holder.port(1)
    assert other.known == []
    for before in (1, 2):  # the port's session is 1
        other.relay.end("miner_b", 9, StaleSession("x"))
        other.relay.end("miner_a", before, StaleSession("A newer session has begun."))
        exchange(other, holder)
        assert holder.got == [StaleSession] * (before - 1)


def test_a_miner_of_another_replica_gets_leases_cancellations_and_requests() -> None:
    leader, holder = pair()
    port = holder.port(2)
    exchange(leader, holder)
    (theirs,) = leader.known
    assert theirs.free.slots == 2
    assert theirs.give(lease(1))
    assert theirs.free.slots == 1
    theirs.cancelled("job_1", 1)
    theirs.heartbeat()
    theirs.close(StaleSession("A newer session has begun."))
    exchange(leader, holder)
    assert holder.got == ["job_1", ("cancelled", "job_1", 1), "heartbeat", StaleSession]
    leader.relay.replace_capabilities(port.miner_id, port.session, capabilities(slots=7))
    exchange(leader, holder)
    assert (port.capabilities["slots"], theirs.capabilities["slots"]) == (7, 7)
    holder.relay.detached(port)
    exchange(leader, holder)
    assert leader.known == []


def test_a_connection_of_a_newer_session_outlives_that_of_an_older_one() -> None:
    other, holder = pair()
    holder.port(1)
    holder.port(1).session = 2
    exchange(other, holder)
    other.known[0].close(StaleSession("A newer session has begun."))
    exchange(other, holder)
    assert holder.got == [StaleSession]


def test_a_connection_that_begins_while_capabilities_change_gets_them_too() -> None:
    """The other replica has read the older ones before the message about their change arrives."""
    leader, holder = pair()
    leader.relay.replace_capabilities("miner_1", 1, capabilities(slots=7))
    stale = holder.port(1)
    stale.miner_id, stale.session = "miner_1", 1
    other = holder.port(1)
    exchange(leader, holder)
    assert stale.capabilities["slots"] == 7
    assert other.capabilities["slots"] != 7
    assert 7 in [port.capabilities["slots"] for port in leader.known]


def test_a_lease_for_a_connection_that_has_ended_is_undelivered() -> None:
    leader, holder = pair()
    port = holder.port(1)
    exchange(leader, holder)
    assert leader.known[0].give(lease(1))
    holder.relay.detached(port)
    exchange(leader, holder)
    assert holder.released == ["job_1"]


def test_the_ports_of_a_replica_that_ended_are_removed_and_a_new_one_learns_all() -> None:
    leader, holder = pair()
    holder.port(1)
    exchange(leader, holder)
    leader.bus.set_peers(frozenset())
    assert leader.known == []
    holder.bus.set_peers(frozenset())
    holder.bus.set_peers(frozenset({"first"}))
    leader.bus.set_peers(frozenset({"second"}))
    exchange(leader, holder)
    assert [port.free.slots for port in leader.known] == [1]


ANNOUNCE, ARRIVE_AT_LEADER, GIVE, ARRIVE_AT_HOLDER, FINISH, RECEIVE = range(6)


@settings(max_examples=2 * settings().max_examples)
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(ANNOUNCE, RECEIVE), st.integers(0, 3)), max_size=80))
def test_no_miner_gets_more_leases_than_it_has_slots(slots: int, steps: list[tuple[int, int]]) -> None:
    """Messages may be in transit in both directions. Once all have arrived, the leader knows the free slots exactly."""
    leader, holder = pair()
    port = holder.port(slots)
    exchange(leader, holder)
    (theirs,) = leader.known
    given_leases = running = received = 0

    def report() -> None:
        port.set_free(slots - running, {}, received)
        holder.relay.changed(port)
        holder.send()

    for step, _ in steps:
        delivered = sum(isinstance(item, str) for item in holder.got)
        if step == ANNOUNCE:
            report()
        elif step == ARRIVE_AT_LEADER and holder.in_transit:
            leader.bus.received("second", *holder.in_transit.popleft())
        elif step == GIVE:
            given_leases += theirs.give(lease(given_leases))
            leader.send()
        elif step == ARRIVE_AT_HOLDER and leader.in_transit:
            holder.bus.received("first", *leader.in_transit.popleft())
        elif step == RECEIVE and received < delivered:
            received += 1
            running += 1
        elif step == FINISH and running:
            running -= 1
        assert running + sum(isinstance(item, str) for item in holder.got) - received <= slots
    assert not holder.released
    exchange(leader, holder)
    received, running = given_leases, 0
    report()
    exchange(leader, holder)
    assert theirs.free.slots == slots
