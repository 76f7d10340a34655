"""What a coordinator knows of a miner's free capacity while messages are in transit in both directions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.coordinator.port import LeaseMessage, Port
from support.clients.scripted_miner import capabilities

SERVICE = "whisper_transcription"
REPORT, RECEIVE_REPORT, GIVE, RECEIVE_LEASE, END = range(5)
steps = st.lists(st.tuples(st.integers(REPORT, END), st.integers(0, 5)), max_size=120)


class Simulation:
    """A miner, the coordinator's port for it, and the messages in transit between them."""

    def __init__(self, slots: int, concurrency: int) -> None:
        self.slots = slots
        self.concurrency = concurrency
        # One for each occupied slot: the number of its jobs by model.
        self.batches: list[Counter[str]] = []
        self.received = 0
        self.reports: deque[tuple[int, Mapping[tuple[str, str | None], int], int]] = deque()
        self.leases: deque[str] = deque()
        offered = capabilities(slots=slots)
        offered["services"][SERVICE]["concurrency"] = concurrency
        self.port = Port(
            "miner_a",
            1,
            deliver=self.deliver,
            cancelled=lambda *_: None,
            heartbeat=lambda: None,
            close=lambda: None,
            capabilities=offered,
        )

    def deliver(self, lease: LeaseMessage) -> bool:
        self.leases.append(lease["spec"]["model"])
        return True

    def report(self) -> None:
        free: Counter[tuple[str, str | None]] = Counter()
        for batch in self.batches:
            (model,) = batch
            free[SERVICE, model] += self.concurrency - batch[model]
        self.reports.append((self.slots - len(self.batches), free, self.received))

    def receive_lease(self) -> None:
        """The next lease arrives. A batch has free capacity for it, or a slot is free."""
        model = self.leases.popleft()
        self.received += 1
        for batch in self.batches:
            if 0 < batch[model] < self.concurrency:
                batch[model] += 1
                return
        assert len(self.batches) < self.slots, "there is no free capacity for a delivered lease"
        self.batches.append(Counter({model: 1}))

    def end(self, which: int) -> None:
        batch = self.batches[which % len(self.batches)]
        (model,) = batch
        batch[model] -= 1
        self.batches = [batch for batch in self.batches if batch.total()]

    def step(self, what: int, which: int) -> None:
        if what == REPORT:
            self.report()
        elif what == RECEIVE_REPORT and self.reports:
            self.port.set_free(*self.reports.popleft())
        elif what == GIVE:
            lease: dict[str, Any] = {"service": SERVICE, "spec": {"model": "abc"[which % 3]}}
            expected = self.port.free.accepts(SERVICE, lease["spec"]["model"])
            assert self.port.give(lease) is expected
        elif what == RECEIVE_LEASE and self.leases:
            self.receive_lease()
        elif what == END and self.batches:
            self.end(which)


@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(slots=st.integers(1, 3), concurrency=st.integers(1, 3), steps=steps)
def test_a_lease_that_arrives_always_finds_free_capacity(
    slots: int, concurrency: int, steps: list[tuple[int, int]]
) -> None:
    """However late messages arrive. Once all have arrived, the coordinator knows the exact free capacity."""
    simulation = Simulation(slots, concurrency)
    simulation.report()
    for what, which in steps:
        simulation.step(what, which)
    while simulation.leases:
        simulation.receive_lease()
    simulation.report()
    while simulation.reports:
        simulation.step(RECEIVE_REPORT, 0)
    assert simulation.port.free.slots == slots - len(simulation.batches)
    used = sum(batch.total() for batch in simulation.batches)
    assert simulation.port.free.batch_capacity.total() == len(simulation.batches) * concurrency - used


def test_a_lease_that_could_not_be_delivered_is_not_in_transit() -> None:
    simulation = Simulation(1, 1)
    simulation.port.set_free(1, {}, 0)
    simulation.port.deliver = lambda _: False
    assert not simulation.port.give({"service": SERVICE, "spec": {"model": "a"}})
    simulation.port.set_free(1, {}, 0)
    assert simulation.port.free.slots == 1
