"""Which device loads which model, and what is evicted: single decisions, and random histories of a simulated machine."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.feasibility import largest_together
from agent.core.values.quantities import GIBIBYTE
from agent.miner.executor.placement import (
    MAIN_MEMORY,
    Card,
    CardRules,
    Join,
    LoadStep,
    Occupant,
    PlacementDemand,
    Refuse,
    Wait,
    decide,
    obstacle,
    overdue,
)

RULES = CardRules(reserve=GIBIBYTE // 2, per_card=1)


def card(number: int, free: float, total: float = 24) -> Card:
    return Card(f"GPU-{number}", f"GPU {number}", int(total * GIBIBYTE), int(free * GIBIBYTE))


def occupant(key: int, number: int, size: float, model: str | None = "a", **values: object) -> Occupant:
    held = int(values.pop("held", size) * GIBIBYTE)  # type: ignore[operator]  # a number
    return Occupant(key, f"GPU-{number}", "images", model, int(size * GIBIBYTE), held, **values)  # type: ignore[arg-type]  # as named


def demand(
    size: float, model: str = "a", least: float | None = None, cards: int = 1, most: int = 1
) -> PlacementDemand:
    smallest = int((size if least is None else least) * GIBIBYTE)
    return PlacementDemand("images", model, int(size * GIBIBYTE), smallest, cards, most)


def test_a_loaded_model_is_preferred_to_loading_it_elsewhere():
    """Even if the other card has more free memory."""
    cards = [card(0, 10), card(1, 24)]
    assert decide(demand(8), cards, [occupant(7, 0, 8)], RULES) == Join(7)


def test_jobs_are_spread_over_the_cards():
    """A busy card gets no job while another one is idle."""
    cards = [card(0, 16), card(1, 16)]
    decision = decide(demand(8, "b"), cards, [occupant(1, 0, 8, runs=1)], RULES)
    assert decision == LoadStep(("GPU-1",), 8 * GIBIBYTE)


def test_a_batch_with_free_capacity_is_joined_before_another_one_is_opened():
    cards = [card(0, 10), card(1, 24)]
    assert decide(demand(8), cards, [occupant(1, 0, 8, runs=3, capacity=8)], RULES) == Join(1)
    full = occupant(1, 0, 8, runs=8, capacity=8)
    assert decide(demand(8), cards, [full], RULES) == LoadStep(("GPU-1",), 8 * GIBIBYTE)


def test_the_least_recently_used_models_are_evicted_and_no_more_than_necessary():
    """Three idle models fill the card, and evicting one of them is enough."""
    models = [
        occupant(1, 0, 8, "x", used_at=30),
        occupant(2, 0, 8, "y", used_at=10),
        occupant(3, 0, 6, "z", used_at=20),
    ]
    assert decide(demand(8), [card(0, 1)], models, RULES) == LoadStep(("GPU-0",), 8 * GIBIBYTE, (2,))


def test_nothing_is_evicted_while_another_card_has_free_memory():
    cards = [card(0, 1), card(1, 20)]
    assert decide(demand(8), cards, [occupant(1, 0, 22, "x")], RULES) == LoadStep(("GPU-1",), 8 * GIBIBYTE)


def test_a_model_saves_memory_if_necessary_and_gets_all_that_is_free():
    """Other programs use most of the card."""
    decision = decide(demand(12, least=4), [card(0, 7)], [], RULES)
    assert decision == LoadStep(("GPU-0",), int(6.5 * GIBIBYTE))


def test_evicting_is_preferred_to_saving_memory():
    idle = occupant(1, 0, 8, "x")
    assert decide(demand(12, least=4), [card(0, 7)], [idle], RULES) == LoadStep(
        ("GPU-0",), 12 * GIBIBYTE, (1,)
    )


def test_a_model_that_is_still_loading_counts_with_its_full_footprint():
    """The driver's figure does not include it yet. With two processes a card, the second must not take its memory."""
    loading = occupant(1, 0, 16, "x", held=0, runs=1)
    decision = decide(demand(8), [card(0, 23)], [loading], CardRules(RULES.reserve, per_card=2))
    assert isinstance(decision, Wait)


def test_an_idle_model_may_grow_again_only_if_memory_is_free():
    """It uses 4 of the 10 GiB that it may take. Another idle model must be evicted first."""
    mine, other = occupant(1, 0, 10, held=4), occupant(2, 0, 12, "x")
    assert decide(demand(10), [card(0, 8)], [mine, other], RULES) == Join(1)
    assert decide(demand(10), [card(0, 5)], [mine, other], RULES) == Join(1, (2,))


def test_memory_used_by_other_programs_is_respected_and_reported():
    decision = decide(demand(8), [card(0, 3)], [], RULES)
    assert isinstance(decision, Wait)
    assert decision.reason == (
        "The model a needs 8.0 GiB: GPU 0 has 2.5 GiB free, other programs use 21.0 GiB."
    )


def test_a_model_that_never_fits_is_refused():
    decision = decide(demand(30), [card(0, 24), card(1, 24)], [], RULES)
    assert isinstance(decision, Refuse)
    assert decision.reason == (
        "The model a needs 30.0 GiB of memory, and no device here has more than 23.5 GiB available for it."
    )


def test_an_exclusive_card_has_one_process_however_much_memory_is_free():
    """The programs of a runner without a model have ended with its last run."""
    rules = CardRules(RULES.reserve, per_card=4)
    exclusive = replace(card(0, 20), exclusive=True)
    idle, program = occupant(1, 0, 2, "x"), occupant(2, 0, 4, None, held=0)
    assert decide(demand(2), [exclusive], [program], rules) == LoadStep(("GPU-0",), 2 * GIBIBYTE)
    assert decide(demand(2), [exclusive], [idle, program], rules) == LoadStep(("GPU-0",), 2 * GIBIBYTE, (1,))
    assert decide(replace(demand(4), model=None), [exclusive], [idle, program], rules) == Join(2, (1,))
    for busy in (occupant(1, 0, 2, "x", runs=1), occupant(1, 0, 2, "x", held=0, runs=1)):
        decision = decide(demand(2), [exclusive], [busy, program], rules)
        assert decision == Wait("The model a needs 2.0 GiB: GPU 0 is busy.")
    batch = occupant(1, 0, 2, "a", runs=1, capacity=2)
    assert decide(demand(2), [exclusive], [batch], rules) == Join(1)
    assert decide(demand(2), [exclusive, card(1, 10)], [idle], rules) == LoadStep(("GPU-1",), 2 * GIBIBYTE)


def test_nothing_is_evicted_beside_an_engine_that_profiles_the_free_memory():
    """Another card is preferred, even with an eviction there."""
    rules = CardRules(RULES.reserve, per_card=2)
    loading, idle = occupant(1, 0, 6, "x", held=0, runs=1), occupant(2, 0, 12, "y", evictable=False)
    wait = decide(demand(8), [card(0, 12)], [loading, idle], rules)
    assert wait == Wait(
        "The model a needs 8.0 GiB: GPU 0 has 5.5 GiB free, and unloads nothing while a model is being loaded."
    )
    elsewhere = occupant(3, 1, 20, "z")
    decision = decide(demand(8), [card(0, 11), card(1, 3)], [loading, idle, elsewhere], rules)
    assert decision == LoadStep(("GPU-1",), 8 * GIBIBYTE, (3,))
    exclusive = replace(card(0, 20), exclusive=True)
    assert isinstance(decide(demand(2), [exclusive], [idle], rules), Wait)


def test_a_job_waits_for_a_busy_card():
    decision = decide(demand(1, "b"), [card(0, 20)], [occupant(1, 0, 2, runs=1)], RULES)
    assert decision == Wait("The model b needs 1.0 GiB: GPU 0 is busy.")


def test_idle_models_are_evicted_when_other_programs_use_the_reserve():
    """The least recently used first, and no more than necessary."""
    models = [occupant(1, 0, 4, "x", used_at=2), occupant(2, 0, 4, "y", used_at=1), occupant(3, 1, 4, "z")]
    assert overdue([card(0, 0.1), card(1, 9)], models, RULES) == (2,)
    assert overdue([card(0, 5), card(1, 9)], models, RULES) == ()
    busy = [occupant(1, 0, 4, "x", runs=1)]
    assert overdue([card(0, 0.1)], busy, RULES) == ()


@pytest.mark.parametrize(
    ("size", "free", "reason"),
    [
        (8, 20, None),
        (
            8,
            3,
            "The model a needs 8.0 GiB of memory; other programs leave at most 7.0 GiB on any device.",
        ),
        (
            30,
            24,
            "The model a needs 30.0 GiB of memory, and no device here has more than 23.5 GiB available for it.",
        ),
    ],
)
def test_a_model_that_cannot_be_loaded_is_reported_with_the_reason(
    size: float, free: float, reason: str | None
):
    """The agent's own models do not count, because they can be evicted."""
    assert obstacle(demand(size), [card(0, free)], [occupant(1, 0, 4, "x")], RULES) == reason


# --- Main memory beside a GPU's --------------------------------------------------------------------------------------


def main(free: float, total: float = 32) -> Card:
    return Card(MAIN_MEMORY, "This machine", int(total * GIBIBYTE), int(free * GIBIBYTE))


def beside(key: int, size: float, **values: object) -> Occupant:
    """Return what an occupant of a GPU takes of the main memory."""
    held = int(values.pop("held", size) * GIBIBYTE)  # type: ignore[operator]  # a number
    return Occupant(
        key, MAIN_MEMORY, "images", "a", int(size * GIBIBYTE), held, beside=True, **values  # type: ignore[arg-type]  # as named
    )  # fmt: skip


def through(memory: float, size: float = 8, model: str = "b") -> PlacementDemand:
    return PlacementDemand(
        "images", model, int(size * GIBIBYTE), int(size * GIBIBYTE), memory=int(memory * GIBIBYTE)
    )


def test_a_model_that_does_not_fit_into_main_memory_is_refused_before_it_is_loaded():
    """FLUX.1 goes through 34 GB of it on any card."""
    decision = decide(through(34), [card(0, 24)], [], RULES, main(30))
    assert decision == Refuse(
        "The model b needs 34.0 GiB of main memory beside the GPU's, and no device here has more than 32.0 GiB of it."
    )
    assert obstacle(through(34), [card(0, 24)], [], RULES, main(30)) == decision.reason


def test_a_model_waits_for_main_memory_that_other_programs_use():
    decision = decide(through(20), [card(0, 24)], [], RULES, main(12))
    assert decision == Wait(
        "The model b needs 20.0 GiB of main memory beside the GPU's: "
        "This machine has 12.0 GiB free, other programs use 20.0 GiB.",
        main_memory=True,
    )
    assert obstacle(through(20), [card(0, 24)], [], RULES, main(12)) == (
        "The model b needs 20.0 GiB of main memory beside the GPU's; other programs leave at most 12.0 GiB."
    )
    assert decide(through(20), [card(0, 24)], [], RULES, main(20)) == LoadStep(("GPU-0",), 8 * GIBIBYTE)


def test_a_loaded_model_is_used_without_the_main_memory_that_loading_needs():
    """If it is idle it needs what it may still take; a batch is joined in any case."""
    idle = [occupant(1, 0, 8), beside(1, 4, held=3)]
    assert decide(through(34, model="a"), [card(0, 16)], idle, RULES, main(1)) == Join(1)
    assert isinstance(decide(through(34, model="a"), [card(0, 16)], idle, RULES, main(0.5)), Wait)
    working = [occupant(1, 0, 8, runs=1, capacity=4), beside(1, 4, held=3, runs=1, capacity=4)]
    assert decide(through(34, model="a"), [card(0, 16)], working, RULES, main(0)) == Join(1)


def test_idle_models_on_any_gpu_are_evicted_for_main_memory_and_no_more_than_necessary():
    cards = [card(0, 24), card(1, 20)]
    models = [
        occupant(1, 1, 2, "x", used_at=2), beside(1, 6, used_at=2),
        occupant(2, 1, 2, "y", used_at=1), beside(2, 6, used_at=1),
    ]  # fmt: skip
    assert decide(through(14), cards, models, RULES, main(10)) == LoadStep(("GPU-0",), 8 * GIBIBYTE, (2,))
    assert decide(through(20), cards, models, RULES, main(10)) == LoadStep(("GPU-0",), 8 * GIBIBYTE, (2, 1))


def test_a_model_that_leaves_the_card_leaves_the_main_memory_too():
    """The first two must leave the card; the third need not leave for the main memory."""
    models = [
        *(occupant(key, 0, 8, "x", used_at=key) for key in (1, 2, 3)),
        *(beside(key, 4, used_at=key) for key in (1, 2, 3)),
    ]
    decision = decide(through(8, size=16), [card(0, 0)], models, CardRules(), main(0))
    assert decision == LoadStep(("GPU-0",), 16 * GIBIBYTE, (1, 2))


def test_main_memory_that_a_loading_model_may_still_take_is_promised_to_it():
    loading = [occupant(1, 0, 8, "x", runs=1, held=0), beside(1, 20, held=5, runs=1)]
    cards = [card(0, 24), card(1, 24)]
    assert isinstance(decide(through(12), cards, loading, RULES, main(26)), Wait)
    assert decide(through(10), cards, loading, RULES, main(26)) == LoadStep(("GPU-1",), 8 * GIBIBYTE)


def test_a_job_on_the_processor_evicts_idle_models_of_gpus_and_waits_for_working_ones():
    """The processor itself is free: jobs on GPUs do not take its turn."""
    job = PlacementDemand("texts", "t", 8 * GIBIBYTE, 8 * GIBIBYTE)
    idle = [occupant(1, 0, 8, "x"), beside(1, 6)]
    assert decide(job, [main(4)], idle, CardRules()) == LoadStep((MAIN_MEMORY,), 8 * GIBIBYTE, (1,))
    working = [occupant(1, 0, 8, "x", runs=1), beside(1, 6, runs=1)]
    assert isinstance(decide(job, [main(4)], working, CardRules()), Wait)
    assert decide(job, [main(10)], working, CardRules()) == LoadStep((MAIN_MEMORY,), 8 * GIBIBYTE)


# --- Several cards for one model ------------------------------------------------------------------------------------


def test_a_job_that_asks_for_two_cards_gets_two_equal_ones_with_half_of_the_model_each():
    cards = [card(0, 12, total=12), card(1, 24), card(2, 20)]
    assert decide(demand(16, cards=2, most=2), cards, [], RULES) == LoadStep(("GPU-1", "GPU-2"), 8 * GIBIBYTE)


def test_a_model_that_is_larger_than_a_card_is_spread_over_as_few_as_possible():
    cards = [card(number, 24) for number in range(4)]
    assert decide(demand(40, most=8), cards, [], RULES) == LoadStep(("GPU-0", "GPU-1"), 20 * GIBIBYTE)
    assert decide(demand(60, most=8), cards, [], RULES) == LoadStep(
        tuple(card.key for card in cards), 15 * GIBIBYTE
    )
    assert isinstance(decide(demand(40, most=1), cards, [], RULES), Refuse)
    assert isinstance(decide(demand(100, most=8), cards, [], RULES), Refuse)


def test_a_model_that_fits_on_one_card_is_not_spread_because_that_card_is_full_now():
    decision = decide(demand(16, most=2), [card(0, 10), card(1, 10)], [], RULES)
    assert isinstance(decision, Wait)


def test_a_job_for_more_cards_than_there_are_is_refused():
    decision = decide(demand(8, cards=4, most=8), [card(0, 24), card(1, 24)], [], RULES)
    assert decision == Refuse("The model a needs 4 GPUs of the same size, and this machine has 2 GPUs.")


def spread(key: int, numbers: tuple[int, ...], size: float, **values: object) -> list[Occupant]:
    return [occupant(key, number, size / len(numbers), cards=len(numbers), **values) for number in numbers]


def test_a_spread_model_is_joined_by_jobs_that_need_as_many_cards_or_fewer():
    cards = [card(0, 4), card(1, 4)]
    for runs in (0, 1):
        loaded = spread(7, (0, 1), 36, runs=runs, capacity=4)
        assert decide(demand(36, cards=2, most=2), cards, loaded, RULES) == Join(7)
        assert decide(demand(36, most=2), cards, loaded, RULES) == Join(7)
    single = [occupant(8, 0, 18, runs=1, capacity=4)]
    assert isinstance(decide(demand(18, cards=2, most=2), [card(0, 4), card(1, 24)], single, RULES), Wait)


def test_a_spread_model_is_not_joined_while_one_of_its_cards_is_paused():
    """The other card alone is among the cards that may be used."""
    loaded = spread(7, (0, 1), 20)
    assert decide(demand(8), [card(0, 12)], loaded, RULES) == LoadStep(("GPU-0",), 8 * GIBIBYTE)


def test_slices_of_a_gpu_are_never_used_together():
    """CUDA gives a process one of them. Two whole cards of the same size can be, beside them."""
    slices = [replace(card(number, 20, total=20), alone=True) for number in range(2)]
    assert isinstance(decide(demand(30, most=2), slices, [], RULES), Refuse)
    assert isinstance(decide(demand(8, cards=2, most=2), slices, [], RULES), Refuse)
    assert isinstance(decide(demand(8, most=2), slices, [], RULES), LoadStep)
    whole = [card(2, 20, total=20), card(3, 20, total=20)]
    decision = decide(demand(30, most=2), [*slices, *whole], [], RULES)
    assert decision == LoadStep(("GPU-2", "GPU-3"), 15 * GIBIBYTE)


def test_an_idle_spread_model_is_evicted_as_a_whole():
    cards = [card(0, 4), card(1, 24 - 18)]
    assert decide(demand(20, "b"), cards, spread(7, (0, 1), 36), RULES) == LoadStep(
        ("GPU-1",), 20 * GIBIBYTE, (7,)
    )
    leaving = overdue([card(0, 0), card(1, 0)], spread(7, (0, 1), 36), RULES)
    assert leaving == (7,)


def test_the_largest_model_uses_equal_cards_together():
    assert largest_together([], 8) == 0
    assert largest_together([24, 24, 24, 12], 1) == 24
    assert largest_together([24, 24, 24, 12], 8) == 48
    assert largest_together([24, 12, 12, 12, 12], 4) == 48


def test_an_obstacle_is_judged_for_as_many_cards_as_the_engine_can_use():
    full = [card(0, 24), card(1, 10)]
    assert obstacle(demand(40, most=1), full, [], RULES) is not None
    assert "other programs leave at most" in str(obstacle(demand(40, most=2), full, [], RULES))
    assert obstacle(demand(40, most=2), [card(0, 24), card(1, 24)], [], RULES) is None


# --- Histories ------------------------------------------------------------------------------------------------------


@dataclass
class _Process:
    """A process of the agent on the simulated machine. `used` is its actual use."""

    key: int
    cards: tuple[int, ...]
    model: str
    footprint: int
    used: int = 0
    seen: int = 0
    runs: int = 0
    capacity: int = 1
    used_at: float = 0.0
    beside: int = 0
    memory: int = 0


@dataclass
class _Machine:
    """Cards, other programs, and the agent's processes, which take memory slowly and never exceed their budgets."""

    totals: list[int]
    rules: CardRules
    chance: random.Random
    others: list[int] = field(default_factory=list)
    processes: dict[int, _Process] = field(default_factory=dict)
    now: float = 0.0
    placed: int = 0
    main: int = 0
    others_main: int = 0

    def __post_init__(self) -> None:
        self.others = [0] * len(self.totals)

    def free(self, number: int) -> int:
        used = sum(item.used for item in self.processes.values() if number in item.cards)
        return self.totals[number] - self.others[number] - used

    def cards(self) -> list[Card]:
        return [
            Card(f"GPU-{number}", f"GPU {number}", total, self.free(number))
            for number, total in enumerate(self.totals)
        ]

    def occupants(self) -> list[Occupant]:
        return [
            Occupant(
                item.key, f"GPU-{number}", "images", item.model, item.footprint, item.used, item.runs, item.capacity, item.used_at,
                len(item.cards),
            )
            for item in self.processes.values()
            for number in item.cards
        ] + [
            Occupant(
                item.key, MAIN_MEMORY, "images", item.model, item.beside, item.memory, item.runs, item.capacity, item.used_at,
                beside=True,
            )
            for item in self.processes.values()
        ]  # fmt: skip

    def free_main(self) -> int:
        return self.main - self.others_main - sum(item.memory for item in self.processes.values())

    def promised_main(self) -> int:
        return sum(item.beside - item.memory for item in self.processes.values() if item.runs > 0)

    def promised(self, number: int) -> int:
        """Return the bytes that the working processes on a card may still take."""
        mine = [item for item in self.processes.values() if number in item.cards and item.runs > 0]
        return sum(item.footprint - item.used for item in mine)

    def submit(self, demand: PlacementDemand) -> None:
        """Carry out decisions as the miner does: evict, measure, decide again."""
        for _ in range(len(self.processes) + 2):
            memory = Card(MAIN_MEMORY, "This machine", self.main, self.free_main())
            decision = decide(demand, self.cards(), self.occupants(), self.rules, memory)
            match decision:
                case Join(key, ()):
                    process = self.processes[key]
                    assert process.model == demand.model
                    assert process.runs < process.capacity
                    assert len(process.cards) >= demand.cards
                    process.runs += 1
                    self.check(process.cards)
                    return
                case LoadStep(names, budget, ()):
                    numbers = tuple(int(name.removeprefix("GPU-")) for name in names)
                    assert len(set(numbers)) == len(numbers) >= demand.cards
                    assert len(numbers) in (demand.cards, demand.most)
                    assert len({self.totals[number] for number in numbers}) == 1
                    assert (
                        demand.least <= budget * len(numbers) < max(demand.need, demand.least) + len(numbers)
                    )
                    for number in numbers:
                        assert budget + self.promised(number) + self.rules.reserve <= self.free(number)
                    self.placed += 1
                    key = self.placed
                    capacity = self.chance.choice([1, 1, 4])
                    self.processes[key] = _Process(
                        key,
                        numbers,
                        str(demand.model),
                        budget,
                        runs=1,
                        capacity=capacity,
                        beside=demand.memory,
                    )
                    self.check(numbers)
                    return
                case Join(_, evict) | LoadStep(_, _, evict):
                    for key in evict:
                        assert self.processes[key].runs == 0
                        del self.processes[key]
                case Wait() | Refuse():
                    assert decision.reason
                    return
        raise AssertionError("evictions did not end")

    def check(self, numbers: tuple[int, ...]) -> None:
        """Check that the cards have enough memory even if all working processes use their full budgets."""
        for number in numbers:
            assert self.promised(number) <= self.free(number)
            assert self.promised_main() <= self.free_main()
            working = sum(item.runs > 0 for item in self.processes.values() if number in item.cards)
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
                cards, most = self.chance.choice([(1, 1), (1, 1), (1, 2), (2, 2), (2, 4)])
                memory = self.chance.choice([0, 0, self.chance.randint(0, 40)]) * GIBIBYTE
                self.submit(
                    PlacementDemand("images", self.chance.choice("abcd"), need, least, cards, most, memory)
                )
            case "grow":
                for item in self.processes.values():
                    if item.runs > 0:
                        item.used = self.chance.randint(item.used, item.footprint)
                        item.memory = self.chance.randint(0, item.beside)
            case "end":
                working = [item for item in self.processes.values() if item.runs > 0]
                if working:
                    process = self.chance.choice(working)
                    process.runs -= 1
                    process.used_at = self.now
            case "other":
                unpromised = self.free(number) - self.promised(number)
                self.others[number] = self.chance.randint(0, self.others[number] + max(0, unpromised))
                unpromised = self.free_main() - self.promised_main()
                self.others_main = self.chance.randint(0, self.others_main + max(0, unpromised))
            case _:
                for key in overdue(self.cards(), self.occupants(), self.rules):
                    assert self.processes[key].runs == 0
                    del self.processes[key]


@settings(
    max_examples=20 * settings().max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_nothing_is_ever_placed_beyond_free_memory(seed: int):
    """4,000 random machines with other programs that grow and shrink, 40 events each."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, and not a secret
    totals = [chance.choice([8, 12, 24]) * GIBIBYTE for _ in range(chance.randint(1, 4))]
    rules = CardRules(reserve=chance.choice([0, GIBIBYTE // 2, GIBIBYTE]), per_card=chance.randint(1, 3))
    machine = _Machine(totals, rules, chance, main=chance.choice([16, 32, 64]) * GIBIBYTE)
    for _ in range(40):
        machine.step()
