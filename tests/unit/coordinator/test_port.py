"""What a coordinator knows of a miner's room while messages are on their way in both directions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.coordinator.dispatch import LeaseMessage, Port
from support.clients.scripted_miner import capabilities

SERVICE = "whisper_transcription"
SAYS, HEARS, GIVES, TAKES, ENDS = range(5)
steps = st.lists(st.tuples(st.integers(SAYS, ENDS), st.integers(0, 5)), max_size=120)


class Played:
    """A miner and a coordinator's port for it, with what is on its way between them."""

    def __init__(self, slots: int, concurrency: int) -> None:
        self.slots = slots
        self.concurrency = concurrency
        self.batches: list[Counter[str]] = []  # one a slot that is taken; all jobs of a batch have one model
        self.received = 0
        self.said: deque[tuple[int, Mapping[tuple[str, str | None], int], int]] = deque()
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

    def say(self) -> None:
        free: Counter[tuple[str, str | None]] = Counter()
        for batch in self.batches:
            (model,) = batch
            free[SERVICE, model] += self.concurrency - batch[model]
        self.said.append((self.slots - len(self.batches), free, self.received))

    def take(self) -> None:
        """The next lease arrives: there is a seat for it, or a slot."""
        model = self.leases.popleft()
        self.received += 1
        for batch in self.batches:
            if 0 < batch[model] < self.concurrency:
                batch[model] += 1
                return
        assert len(self.batches) < self.slots, "there is no room for a lease that was given"
        self.batches.append(Counter({model: 1}))

    def end(self, which: int) -> None:
        batch = self.batches[which % len(self.batches)]
        (model,) = batch
        batch[model] -= 1
        self.batches = [batch for batch in self.batches if batch.total()]

    def step(self, what: int, which: int) -> None:
        if what == SAYS:
            self.say()
        elif what == HEARS and self.said:
            self.port.set_free(*self.said.popleft())
        elif what == GIVES:
            lease: dict[str, Any] = {"service": SERVICE, "spec": {"model": "abc"[which % 3]}}
            expected = self.port.free.accepts(SERVICE, lease["spec"]["model"])
            assert self.port.give(lease) is expected
        elif what == TAKES and self.leases:
            self.take()
        elif what == ENDS and self.batches:
            self.end(which)


@settings(max_examples=300, deadline=None)
@given(slots=st.integers(1, 3), concurrency=st.integers(1, 3), steps=steps)
def test_a_lease_that_arrives_always_finds_room(
    slots: int, concurrency: int, steps: list[tuple[int, int]]
) -> None:
    """However late each side hears of the other; and once all has been heard, the coordinator knows all the free."""
    played = Played(slots, concurrency)
    played.say()
    for what, which in steps:
        played.step(what, which)
    while played.leases:
        played.take()
    played.say()
    while played.said:
        played.step(HEARS, 0)
    assert played.port.free.slots == slots - len(played.batches)
    taken = sum(batch.total() for batch in played.batches)
    assert played.port.free.batch_capacity.total() == len(played.batches) * concurrency - taken


def test_a_lease_that_could_not_be_delivered_is_not_on_its_way() -> None:
    played = Played(1, 1)
    played.port.set_free(1, {}, 0)
    played.port.deliver = lambda _: False
    assert not played.port.give({"service": SERVICE, "spec": {"model": "a"}})
    played.port.set_free(1, {}, 0)
    assert played.port.free.slots == 1
