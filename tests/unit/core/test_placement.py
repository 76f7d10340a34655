"""Which device gets which model, and what has to leave: single decisions, and random histories of a simulated machine."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.machine.placement import (
    GIBIBYTE,
    Card,
    Demand,
    Join,
    Place,
    Refuse,
    Resident,
    Rules,
    Wait,
    decide,
    obstacle,
    overdue,
)

RULES = Rules(reserve=GIBIBYTE // 2, per_card=1)


def card(number: int, free: float, total: float = 24) -> Card:
    return Card(f"GPU-{number}", f"GPU {number}", int(total * GIBIBYTE), int(free * GIBIBYTE))


def resident(key: int, number: int, size: float, model: str = "a", **values: object) -> Resident:
    held = int(values.pop("held", size) * GIBIBYTE)  # type: ignore[operator]  # a number
    return Resident(key, f"GPU-{number}", "images", model, int(size * GIBIBYTE), held, **values)  # type: ignore[arg-type]  # as named


def demand(size: float, model: str = "a", least: float | None = None) -> Demand:
    return Demand("images", model, int(size * GIBIBYTE), int((size if least is None else least) * GIBIBYTE))


def test_a_warm_model_is_used_before_one_is_loaded_elsewhere():
    """Even if the other card has more room."""
    cards = [card(0, 10), card(1, 24)]
    assert decide(demand(8), cards, [resident(7, 0, 8)], RULES) == Join(7)


def test_jobs_are_spread_over_the_cards():
    """A card that works is left alone while another one is free."""
    cards = [card(0, 16), card(1, 16)]
    decision = decide(demand(8, "b"), cards, [resident(1, 0, 8, runs=1)], RULES)
    assert decision == Place("GPU-1", 8 * GIBIBYTE)


def test_a_batch_with_a_free_seat_is_joined_before_another_one_is_opened():
    cards = [card(0, 10), card(1, 24)]
    assert decide(demand(8), cards, [resident(1, 0, 8, runs=3, capacity=8)], RULES) == Join(1)
    full = resident(1, 0, 8, runs=8, capacity=8)
    assert decide(demand(8), cards, [full], RULES) == Place("GPU-1", 8 * GIBIBYTE)


def test_the_least_recently_used_model_leaves_and_no_more_than_need_be():
    """Three idle models fill the card; one of them is enough."""
    models = [
        resident(1, 0, 8, "x", used_at=30),
        resident(2, 0, 8, "y", used_at=10),
        resident(3, 0, 6, "z", used_at=20),
    ]
    assert decide(demand(8), [card(0, 1)], models, RULES) == Place("GPU-0", 8 * GIBIBYTE, (2,))


def test_nothing_leaves_while_another_card_has_room():
    cards = [card(0, 1), card(1, 20)]
    assert decide(demand(8), cards, [resident(1, 0, 22, "x")], RULES) == Place("GPU-1", 8 * GIBIBYTE)


def test_a_model_saves_memory_when_it_must_and_gets_what_there_is():
    """Other programs use most of the card."""
    decision = decide(demand(12, least=4), [card(0, 7)], [], RULES)
    assert decision == Place("GPU-0", int(6.5 * GIBIBYTE))


def test_evicting_is_better_than_saving():
    idle = resident(1, 0, 8, "x")
    assert decide(demand(12, least=4), [card(0, 7)], [idle], RULES) == Place("GPU-0", 12 * GIBIBYTE, (1,))


def test_what_is_still_loading_is_counted_in_full():
    """The driver's figure does not show it yet. With two places a card, the second model must not take its room."""
    loading = resident(1, 0, 16, "x", held=0, runs=1)
    decision = decide(demand(8), [card(0, 23)], [loading], Rules(RULES.reserve, per_card=2))
    assert isinstance(decision, Wait)


def test_an_idle_model_may_grow_again_only_if_there_is_room():
    """It holds 4 of the 10 GiB that it may take; another idle one has to leave first."""
    mine, other = resident(1, 0, 10, held=4), resident(2, 0, 12, "x")
    assert decide(demand(10), [card(0, 8)], [mine, other], RULES) == Join(1)
    assert decide(demand(10), [card(0, 5)], [mine, other], RULES) == Join(1, (2,))


def test_other_programs_use_is_respected_and_named():
    decision = decide(demand(8), [card(0, 3)], [], RULES)
    assert isinstance(decision, Wait)
    assert decision.reason == (
        "The model a needs 8.0 GiB: GPU 0 has 2.5 GiB to spare, other programs use 21.0 GiB."
    )


def test_what_never_fits_is_refused():
    decision = decide(demand(30), [card(0, 24), card(1, 24)], [], RULES)
    assert isinstance(decision, Refuse)
    assert decision.reason == (
        "The model a needs 30.0 GiB of memory, and no device here has more than 23.5 GiB for it."
    )


def test_a_working_card_is_waited_for():
    decision = decide(demand(1, "b"), [card(0, 20)], [resident(1, 0, 2, runs=1)], RULES)
    assert decision == Wait("The model b needs 1.0 GiB: GPU 0 is working.")


def test_idle_models_give_way_when_other_programs_need_the_reserve():
    """The least used one first, and only as many as it takes."""
    models = [resident(1, 0, 4, "x", used_at=2), resident(2, 0, 4, "y", used_at=1), resident(3, 1, 4, "z")]
    assert overdue([card(0, 0.1), card(1, 9)], models, RULES) == (2,)
    assert overdue([card(0, 5), card(1, 9)], models, RULES) == ()
    busy = [resident(1, 0, 4, "x", runs=1)]
    assert overdue([card(0, 0.1)], busy, RULES) == ()


@pytest.mark.parametrize(
    ("size", "free", "reason"),
    [
        (8, 20, None),
        (
            8,
            3,
            "The model a needs 8.0 GiB of memory; other programs leave no more than 7.0 GiB on any device.",
        ),
        (30, 24, "The model a needs 30.0 GiB of memory, and no device here has more than 23.5 GiB for it."),
    ],
)
def test_a_model_that_cannot_be_had_is_named_with_the_reason(size: float, free: float, reason: str | None):
    """Our own models do not count: they can leave."""
    assert obstacle(demand(size), [card(0, free)], [resident(1, 0, 4, "x")], RULES) == reason


# --- Histories ------------------------------------------------------------------------------------------------------


@dataclass
class _Process:
    """One of our processes on the simulated machine. `taken` is what it really uses."""

    key: int
    card: int
    model: str
    footprint: int
    taken: int = 0
    seen: int = 0
    runs: int = 0
    capacity: int = 1
    used_at: float = 0.0


@dataclass
class _Machine:
    """Cards, other programs, and our processes, which take memory slowly and never more than they were given."""

    totals: list[int]
    rules: Rules
    chance: random.Random
    others: list[int] = field(default_factory=list)
    processes: dict[int, _Process] = field(default_factory=dict)
    now: float = 0.0
    placed: int = 0

    def __post_init__(self) -> None:
        self.others = [0] * len(self.totals)

    def free(self, number: int) -> int:
        used = sum(item.taken for item in self.processes.values() if item.card == number)
        return self.totals[number] - self.others[number] - used

    def cards(self) -> list[Card]:
        return [
            Card(f"GPU-{number}", f"GPU {number}", total, self.free(number))
            for number, total in enumerate(self.totals)
        ]

    def residents(self) -> list[Resident]:
        return [
            Resident(
                item.key, f"GPU-{item.card}", "images", item.model, item.footprint, item.taken, item.runs, item.capacity, item.used_at
            )
            for item in self.processes.values()
        ]  # fmt: skip

    def promised(self, number: int) -> int:
        """What our working processes on a card may still take."""
        mine = [item for item in self.processes.values() if item.card == number and item.runs > 0]
        return sum(item.footprint - item.taken for item in mine)

    def submit(self, wanted: Demand) -> None:
        """Carry decisions out as the miner does: evict, measure, ask again."""
        for _ in range(len(self.processes) + 2):
            decision = decide(wanted, self.cards(), self.residents(), self.rules)
            match decision:
                case Join(key, ()):
                    process = self.processes[key]
                    assert process.model == wanted.model
                    assert process.runs < process.capacity
                    process.runs += 1
                    self.check(process.card)
                    return
                case Place(name, budget, ()):
                    number = int(name.removeprefix("GPU-"))
                    assert wanted.least <= budget <= max(wanted.need, wanted.least)
                    assert budget + self.promised(number) + self.rules.reserve <= self.free(number)
                    self.placed += 1
                    key = self.placed
                    capacity = self.chance.choice([1, 1, 4])
                    self.processes[key] = _Process(
                        key, number, str(wanted.model), budget, runs=1, capacity=capacity
                    )
                    self.check(number)
                    return
                case Join(_, evict) | Place(_, _, evict):
                    for key in evict:
                        assert self.processes[key].runs == 0
                        del self.processes[key]
                case Wait() | Refuse():
                    assert decision.reason
                    return
        raise AssertionError("evictions did not come to an end")

    def check(self, number: int) -> None:
        """Should all of our working processes take all that they were given, the card still holds it."""
        assert self.promised(number) <= self.free(number)
        working = sum(item.runs > 0 for item in self.processes.values() if item.card == number)
        assert working <= self.rules.per_card

    def step(self) -> None:
        self.now += 1
        number = self.chance.randrange(len(self.totals))
        match self.chance.choice(
            ["submit", "submit", "submit", "grow", "grow", "end", "end", "other", "polite"]
        ):
            case "submit":
                need = self.chance.randint(0, 30) * GIBIBYTE
                least = self.chance.randint(0, need) if self.chance.random() < 0.5 else need
                self.submit(Demand("images", self.chance.choice("abcd"), need, least))
            case "grow":
                for item in self.processes.values():
                    if item.runs > 0:
                        item.taken = self.chance.randint(item.taken, item.footprint)
            case "end":
                working = [item for item in self.processes.values() if item.runs > 0]
                if working:
                    process = self.chance.choice(working)
                    process.runs -= 1
                    process.used_at = self.now
            case "other":
                room = self.free(number) - self.promised(number)
                self.others[number] = self.chance.randint(0, self.others[number] + max(0, room))
            case _:
                for key in overdue(self.cards(), self.residents(), self.rules):
                    assert self.processes[key].runs == 0
                    del self.processes[key]


@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_nothing_is_ever_placed_beyond_free_memory(seed: int):
    """10,000 random machines with moving other programs; 40 events each."""
    chance = random.Random(seed)  # noqa: S311 - a repeatable history, no secret
    totals = [chance.choice([8, 12, 24]) * GIBIBYTE for _ in range(chance.randint(1, 4))]
    rules = Rules(reserve=chance.choice([0, GIBIBYTE // 2, GIBIBYTE]), per_card=chance.randint(1, 3))
    machine = _Machine(totals, rules, chance)
    for _ in range(40):
        machine.step()
