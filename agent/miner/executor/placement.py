"""Which device loads which model, and which models are evicted for it.

A card's free memory is the driver's figure, which covers the use of all programs. The memory that the agent's own models may
still take beyond that figure is reserved before anything else is placed. Decisions are pure: after an eviction the caller
reads the free memory and decides again, so that no model is loaded into memory that has not been freed yet.

A model whose engine can use several cards is spread over as few equal ones as possible, in equal shares.

A machine without a GPU is one card with the machine's memory. On a machine with GPUs, every process takes main memory too, most of
it while its model loads: it is placed only where that is free as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from agent.core.feasibility import card_counts
from agent.core.values.quantities import GIBIBYTE, gibibytes

TOO_LARGE: Final = "no device here has more than"
"""Part of every reason that holds as long as the machine stays the same."""
MAIN_MEMORY: Final = "cpu"
"""The key of the card that is the machine's main memory."""


@dataclass(frozen=True, slots=True)
class Card:
    """A device at one moment. Sizes are in bytes. `free` accounts for all programs.

    A slice of a GPU is `alone`: engines cannot use it together with another device. An `exclusive` GPU lets one process at a time
    compute: a model that is loaded there leaves before another one is, however much memory is free.
    """

    key: str
    name: str
    total: int
    free: int
    alone: bool = False
    exclusive: bool = False

    @property
    def group(self) -> tuple[int, str]:
        """What it has in common with the devices that one model can use together."""
        return self.total, self.key if self.alone else ""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A process of the agent that has loaded a model on a card, or is about to.

    `footprint` is the maximum that it may take, and `held` the part that the card's figure already includes, in bytes. `runs`
    of at most `capacity` are under way (loading counts as one). `used_at` is when it last worked, in seconds. A process that uses
    several `cards` is one occupant of each, with the same key and its share of the memory. One on GPUs is also an occupant of the
    main memory, `beside` its cards, where it takes no job's turn. It is not `evictable` while an engine that is being loaded on
    one of its cards profiles their free memory.
    """

    key: int
    card: str
    service: str
    model: str | None
    footprint: int
    held: int = 0
    runs: int = 0
    capacity: int = 1
    used_at: float = 0.0
    cards: int = 1
    beside: bool = False
    evictable: bool = True

    @property
    def growth(self) -> int:
        """The bytes that it may still take beyond the card's figure."""
        return max(0, self.footprint - self.held)


@dataclass(frozen=True, slots=True)
class PlacementDemand:
    """A job that needs a device. `need` is what its model takes at full speed, `least` what it needs at least, in bytes.

    It needs `cards` cards, and more, up to `most`, if `least` does not fit on so few. `memory` is what it needs of the main memory
    beside its GPU's.
    """

    service: str
    model: str | None
    need: int
    least: int
    cards: int = 1
    most: int = 1
    memory: int = 0


@dataclass(frozen=True, slots=True)
class CardRules:
    """Limits of every card: `reserve` bytes stay free for its owner, and at most `per_card` processes work."""

    reserve: int = 0
    per_card: int = 1


@dataclass(frozen=True, slots=True)
class Join:
    """Run the job in this occupant, after the occupants in `evict` have ended."""

    key: int
    evict: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Load the model on these cards with a budget of `budget` bytes on each, after the occupants in `evict` have ended."""

    cards: tuple[str, ...]
    budget: int
    evict: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """There is not enough free memory now, but there may be later. The reason is a sentence for the owner.

    `main_memory` states that it is the main memory that a job on a GPU lacks.
    """

    reason: str
    main_memory: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job never fits on these cards."""

    reason: str


Decision: TypeAlias = Join | LoadStep | Wait | Refuse


@dataclass(frozen=True, slots=True)
class _View:
    """A card and the agent's processes on it."""

    card: Card
    occupants: tuple[Occupant, ...]
    rules: CardRules

    @property
    def working(self) -> int:
        return sum(occupant.runs > 0 and not occupant.beside for occupant in self.occupants)

    @property
    def has_turn(self) -> bool:
        return self.working < (1 if self.card.exclusive else self.rules.per_card)

    @property
    def available(self) -> int:
        """Bytes that are neither used nor promised."""
        # An idle process does not grow, and can be evicted before it is used again.
        promised = sum(occupant.growth for occupant in self.occupants if occupant.runs > 0)
        return self.card.free - self.rules.reserve - promised

    def idle(self, spare: int | None = None) -> list[Occupant]:
        """Return the occupants that can be evicted, the least recently used first."""
        idle = [
            item
            for item in self.occupants
            if item.runs == 0 and item.held > 0 and item.key != spare and item.evictable
        ]
        return sorted(idle, key=lambda occupant: (occupant.used_at, occupant.key))

    def evictions(
        self, size: int, spare: int | None = None, evicted: tuple[int, ...] = ()
    ) -> tuple[int, ...] | None:
        """Return the idle occupants whose eviction makes `size` bytes available, or None if even evicting all does not.

        Those in `evicted` leave in any case.
        """
        leaving = [*evicted]
        if self.card.exclusive:
            # The programs of a runner without a model have ended with its last run.
            others = [item for item in self.occupants if item.key != spare and (item.model or item.held)]
            if not all(item.evictable for item in others):
                return None
            leaving += [item.key for item in others if item.key not in evicted]
        missing = size - self.available - sum(item.held for item in self.occupants if item.key in leaving)
        for occupant in self.idle(spare):
            if missing <= 0:
                break
            if occupant.key in leaving:
                continue
            leaving.append(occupant.key)
            missing -= occupant.held
        return tuple(leaving) if missing <= 0 else None


def decide(
    demand: PlacementDemand,
    cards: Sequence[Card],
    occupants: Iterable[Occupant],
    rules: CardRules,
    memory: Card | None = None,
) -> Decision:
    """Decide where a job runs. Prefers a loaded model to loading one, and free memory to an eviction.

    `memory` is the main memory, for a job on GPUs; without it, only their own memory counts.
    """
    everywhere = tuple(occupants)
    views = [_view(card, everywhere, rules) for card in cards]
    # By the whole memory, not by what is free: what does not fit into an empty machine need not wait.
    count = _card_count(demand, {card: card.total - rules.reserve for card in cards})
    if count is None:
        return Refuse(_too_large(demand, cards, rules))
    decision = _join(demand, views) or _load(demand, views, count) or _why_not(demand, views)
    if memory is None:
        return decision
    return _beside(decision, demand, _view(memory, everywhere, CardRules()))


def _view(card: Card, occupants: Sequence[Occupant], rules: CardRules) -> _View:
    return _View(card, tuple(item for item in occupants if item.card == card.key), rules)


def _beside(decision: Decision, demand: PlacementDemand, main: _View) -> Decision:
    """Return the decision with the evictions that the main memory needs as well, or why the job cannot start."""
    key, size = None, demand.memory
    match decision:
        case Join():
            key = decision.key
            # A process that already works has been counted with its full footprint.
            size = sum(item.growth for item in main.occupants if item.key == key and item.runs == 0)
        # An eviction cannot help, and neither can waiting.
        case LoadStep() if size > main.card.total:
            return Refuse(_beyond_main_memory(demand, main.card))
        case Wait() | Refuse():
            return decision
    if size == 0:
        return decision
    leaving = main.evictions(size, key, decision.evict)
    if leaving is None:
        needs = f"{_named(demand)} needs {gibibytes(size)} of main memory beside the GPU's"
        return Wait(f"{needs}: {_state(main)}.", main_memory=True)
    return replace(decision, evict=leaving)


def overdue(cards: Sequence[Card], occupants: Iterable[Occupant], rules: CardRules) -> tuple[int, ...]:
    """Return the idle occupants to evict now because another program uses memory that is reserved for the owner."""
    everywhere = tuple(occupants)
    leaving: list[int] = []
    for card in cards:
        view = _view(card, everywhere, rules)
        # Compared with the driver's figure, which another program may have changed since the models were placed.
        missing = rules.reserve - card.free
        for occupant in view.idle():
            if missing <= 0:
                break
            leaving.append(occupant.key)
            missing -= occupant.held
    # A process that spans several cards is on the list of each, and leaves once.
    return tuple(dict.fromkeys(leaving))


def obstacle(
    demand: PlacementDemand,
    cards: Sequence[Card],
    occupants: Iterable[Occupant],
    rules: CardRules,
    memory: Card | None = None,
) -> str | None:
    """Return why a model cannot be loaded at present, even if all of the agent's own were evicted, or None if it can.

    `memory` is the main memory, for models on GPUs.
    """
    everywhere = tuple(occupants)
    ours = {card.key: sum(item.held for item in everywhere if item.card == card.key) for card in cards}
    if _card_count(demand, {card: card.total - rules.reserve for card in cards}) is None:
        return _too_large(demand, cards, rules)
    # The agent's own models would be unloaded, so only the memory of other programs is in the way.
    if _card_count(demand, {card: card.free + ours[card.key] - rules.reserve for card in cards}) is None:
        return _crowded(demand, cards, ours)
    if memory is None:
        return None
    if demand.memory > memory.total:
        return _beyond_main_memory(demand, memory)
    most_free = memory.free + sum(item.held for item in everywhere if item.card == memory.key)
    if demand.memory > most_free:
        return (
            f"{_named(demand)} needs {gibibytes(demand.memory)} of main memory beside the GPU's; other programs leave at most "
            f"{gibibytes(max(0, most_free))}."
        )
    return None


def _card_count(demand: PlacementDemand, sizes: Mapping[Card, int]) -> int | None:
    """Return how many cards the job needs if each has so many bytes for it, or None if these cards do not suffice."""
    groups = defaultdict[tuple[int, str], list[int]](list)
    for card, size in sizes.items():
        groups[card.group].append(size)
    for count in card_counts(demand.cards, demand.most):
        share = -(-demand.least // count)
        if any(sum(size >= share for size in group) >= count for group in groups.values()):
            return count
    return None


def _join(demand: PlacementDemand, views: Sequence[_View]) -> Join | None:
    """Return an occupant with the model: a working one with free capacity, or else an idle one that has memory to grow."""
    fitting = defaultdict[int, list[tuple[_View, Occupant]]](list)
    for view in views:
        for occupant in view.occupants:
            if (
                (occupant.service, occupant.model) == (demand.service, demand.model)
                and occupant.runs < occupant.capacity
                and occupant.cards >= demand.cards
                and occupant.footprint * occupant.cards >= demand.least
            ):
                fitting[occupant.key].append((view, occupant))
    # A process on a card that is paused is not among the views of all its cards.
    complete = [parts for parts in fitting.values() if len(parts) == parts[0][1].cards]
    working = [occupant for ((_, occupant), *_) in complete if occupant.runs > 0]
    if working:
        # The one with the fewest runs answers soonest; the key makes the choice the same each time.
        return Join(min(working, key=lambda occupant: (occupant.runs, occupant.key)).key)
    options = []
    for parts in complete:
        evictions = [view.evictions(occupant.growth, occupant.key) for view, occupant in parts]
        if all(view.has_turn for view, _ in parts) and None not in evictions:
            leaving = tuple(dict.fromkeys(key for keys in evictions for key in keys or ()))
            occupant = parts[0][1]
            busy = max(view.working for view, _ in parts)
            # The one used last comes first: the others may then be idle for long enough to be unloaded.
            options.append((len(leaving), busy, -occupant.used_at, occupant.key, leaving))
    if not options:
        return None
    *_, key, leaving = min(options)
    return Join(key, leaving)


def _load(demand: PlacementDemand, views: Sequence[_View], count: int) -> LoadStep | None:
    """Return `count` equal cards for the model. Prefers its full size to a reduced one, and no eviction to an eviction."""
    turn = [view for view in views if view.has_turn]
    need, least = -(-demand.need // count), -(-demand.least // count)
    for size in dict.fromkeys((need, least)):
        groups = defaultdict[tuple[int, str], list[_Option]](list)
        for view in turn:
            if (leaving := view.evictions(size)) is not None:
                groups[view.card.group].append(_Option(view, leaving))
        choices = [
            sorted(group, key=_Option.cost)[:count] for group in groups.values() if len(group) >= count
        ]
        if choices:
            # A model over several cards is as fast as the worst of them.
            chosen = min(choices, key=lambda options: max(option.cost() for option in options))
            available = min(option.view.available for option in chosen)
            # A reduced model still gets what is free, since more memory makes it faster.
            budget = size if size == need else max(size, min(need, available))
            leaving = tuple(dict.fromkeys(key for option in chosen for key in option.leaving))
            return LoadStep(tuple(option.view.card.key for option in chosen), budget, leaving)
    return None


@dataclass(frozen=True, slots=True)
class _Option:
    """A card on which a model could be loaded after evictions."""

    view: _View
    leaving: tuple[int, ...]

    def cost(self) -> tuple[bool, int, int, int]:
        """Return a value that is smaller for a better card."""
        return bool(self.leaving), self.view.working, len(self.leaving), -self.view.available


def _why_not(demand: PlacementDemand, views: Sequence[_View]) -> Wait:
    states = "; ".join(_state(view) for view in views) or "no device answers"
    return Wait(f"{_named(demand)} needs {gibibytes(demand.least)}: {states}.")


def _state(view: _View) -> str:
    if not view.has_turn:
        return f"{view.card.name} is busy"
    used_by_others = view.card.total - view.card.free - sum(occupant.held for occupant in view.occupants)
    others_words = (
        f", other programs use {gibibytes(used_by_others)}" if used_by_others > GIBIBYTE // 2 else ""
    )
    settling = any(not occupant.evictable for occupant in view.occupants)
    loading_words = ", and unloads nothing while a model is being loaded" if settling else ""
    return f"{view.card.name} has {gibibytes(max(0, view.available))} free{others_words}{loading_words}"


def _too_large(demand: PlacementDemand, cards: Sequence[Card], rules: CardRules) -> str:
    largest = max((card.total - rules.reserve for card in cards), default=0)
    if demand.cards > 1 and demand.least <= largest * demand.cards:
        return f"{_named(demand)} needs {demand.cards} GPUs of the same size, and this machine has {len(cards)} GPUs."
    return (
        f"{_named(demand)} needs {gibibytes(demand.least)} of memory, and {TOO_LARGE} "
        f"{gibibytes(max(0, largest))} available for it."
    )


def _beyond_main_memory(demand: PlacementDemand, memory: Card) -> str:
    return (
        f"{_named(demand)} needs {gibibytes(demand.memory)} of main memory beside the GPU's, and {TOO_LARGE} "
        f"{gibibytes(memory.total)} of it."
    )


def _crowded(demand: PlacementDemand, cards: Sequence[Card], ours: dict[str, int]) -> str:
    free = max(card.free + ours[card.key] for card in cards)
    return (
        f"{_named(demand)} needs {gibibytes(demand.least)} of memory; other programs leave at most "
        f"{gibibytes(max(0, free))} on any device."
    )


def _named(demand: PlacementDemand) -> str:
    return demand.service if demand.model is None else f"The model {demand.model}"
