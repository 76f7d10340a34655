"""Which device loads which model, and which models are evicted for it.

A card's free memory is the driver's figure, which covers the use of all programs. The memory that the agent's own models may
still take beyond that figure is reserved before anything else is placed. Decisions are pure: after an eviction the caller
reads the free memory and decides again, so that no model is loaded into memory that has not been freed yet.

A machine without a GPU is one card with the machine's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

GIBIBYTE: Final = 2**30
TOO_LARGE: Final = "no device here has more than"
"""Part of every reason that holds as long as the machine stays the same."""


@dataclass(frozen=True, slots=True)
class Card:
    """A device at one moment. Sizes are in bytes. `free` accounts for all programs."""

    key: str
    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Occupant:
    """A process of the agent that has loaded a model on a card, or is about to.

    `footprint` is the maximum that it may take, and `held` the part that the card's figure already includes, in bytes. `runs`
    of at most `capacity` are under way (loading counts as one). `used_at` is when it last worked, in seconds.
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

    @property
    def growth(self) -> int:
        """The bytes that it may still take beyond the card's figure."""
        return max(0, self.footprint - self.held)


@dataclass(frozen=True, slots=True)
class Demand:
    """A job that needs a device. `need` is what its model takes at full speed, `least` what it needs at least, in bytes."""

    service: str
    model: str | None
    need: int
    least: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of every card: `reserve` bytes stay free for its owner, and at most `per_card` processes work."""

    reserve: int = 0
    per_card: int = 1


@dataclass(frozen=True, slots=True)
class Join:
    """Run the job in this occupant, after the occupants in `evict` have ended."""

    key: int
    evict: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """Load the model on this card with a budget of `budget` bytes, after the occupants in `evict` have ended."""

    card: str
    budget: int
    evict: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """There is not enough free memory now, but there may be later. The reason is a sentence for the owner."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The job never fits on these cards."""

    reason: str


Decision: TypeAlias = Join | Load | Wait | Refuse


@dataclass(frozen=True, slots=True)
class _View:
    """A card and the agent's processes on it."""

    card: Card
    occupants: tuple[Occupant, ...]
    rules: Rules

    @property
    def working(self) -> int:
        return sum(occupant.runs > 0 for occupant in self.occupants)

    @property
    def has_turn(self) -> bool:
        return self.working < self.rules.per_card

    @property
    def available(self) -> int:
        """Bytes that are neither used nor promised."""
        promised = sum(occupant.growth for occupant in self.occupants if occupant.runs > 0)
        return self.card.free - self.rules.reserve - promised

    def idle(self, spare: int | None = None) -> list[Occupant]:
        """Return the occupants that can be evicted, the least recently used first."""
        found = [item for item in self.occupants if item.runs == 0 and item.held > 0 and item.key != spare]
        return sorted(found, key=lambda occupant: (occupant.used_at, occupant.key))

    def evictions(self, size: int, spare: int | None = None) -> tuple[int, ...] | None:
        """Return the idle occupants whose eviction makes `size` bytes available, or None if even evicting all does not."""
        missing = size - self.available
        leaving: list[int] = []
        for occupant in self.idle(spare):
            if missing <= 0:
                break
            leaving.append(occupant.key)
            missing -= occupant.held
        return tuple(leaving) if missing <= 0 else None


def decide(demand: Demand, cards: Sequence[Card], occupants: Iterable[Occupant], rules: Rules) -> Decision:
    """Decide where a job runs. Prefers a loaded model to loading one, and free memory to an eviction."""
    everywhere = tuple(occupants)
    views = [
        _View(card, tuple(item for item in everywhere if item.card == card.key), rules) for card in cards
    ]
    return _join(demand, views) or _load(demand, views) or _why_not(demand, views, rules)


def overdue(cards: Sequence[Card], occupants: Iterable[Occupant], rules: Rules) -> tuple[int, ...]:
    """Return the idle occupants to evict now because another program uses memory that is reserved for the owner."""
    everywhere = tuple(occupants)
    leaving: list[int] = []
    for card in cards:
        view = _View(card, tuple(item for item in everywhere if item.card == card.key), rules)
        missing = rules.reserve - card.free
        for occupant in view.idle():
            if missing <= 0:
                break
            leaving.append(occupant.key)
            missing -= occupant.held
    return tuple(leaving)


def obstacle(
    demand: Demand, cards: Sequence[Card], occupants: Iterable[Occupant], rules: Rules
) -> str | None:
    """Return why a model cannot be loaded at present, even if all of the agent's own were evicted, or None if it can."""
    ours = {card.key: sum(item.held for item in occupants if item.card == card.key) for card in cards}
    if any(card.free + ours[card.key] - rules.reserve >= demand.least for card in cards):
        return None
    return _too_large(demand, cards, rules) or _crowded(demand, cards, ours)


def _join(demand: Demand, views: Sequence[_View]) -> Join | None:
    """Return an occupant with the model: a working one with free capacity, or else an idle one that has memory to grow."""
    fitting = [
        (view, occupant)
        for view in views
        for occupant in view.occupants
        if (occupant.service, occupant.model) == (demand.service, demand.model)
        and occupant.runs < occupant.capacity
        and occupant.footprint >= demand.least
    ]
    for _, occupant in sorted(fitting, key=lambda pair: (pair[1].runs, pair[1].key)):
        if occupant.runs > 0:
            return Join(occupant.key)
    options = []
    for view, occupant in fitting:
        if view.has_turn and (leaving := view.evictions(occupant.growth, occupant.key)) is not None:
            options.append((len(leaving), view.working, -occupant.used_at, occupant.key, leaving))
    if not options:
        return None
    *_, key, leaving = min(options)
    return Join(key, leaving)


def _load(demand: Demand, views: Sequence[_View]) -> Load | None:
    """Return the card for the model. Prefers its full size to a reduced one, and no eviction to an eviction."""
    turn = [view for view in views if view.has_turn]
    for size in dict.fromkeys((demand.need, demand.least)):
        options = [
            (bool(leaving), view.working, len(leaving), -view.available, view, leaving)
            for view in turn
            if (leaving := view.evictions(size)) is not None
        ]
        if options:
            *_, view, leaving = min(options, key=lambda option: option[:4])
            budget = size if size == demand.need else max(size, min(demand.need, view.available))
            return Load(view.card.key, budget, leaving)
    return None


def _why_not(demand: Demand, views: Sequence[_View], rules: Rules) -> Wait | Refuse:
    cards = [view.card for view in views]
    if (reason := _too_large(demand, cards, rules)) is not None:
        return Refuse(reason)
    states = "; ".join(_state(view) for view in views) or "no device answers"
    return Wait(f"{_named(demand)} needs {gibibytes(demand.least)}: {states}.")


def _state(view: _View) -> str:
    if not view.has_turn:
        return f"{view.card.name} is busy"
    others = view.card.total - view.card.free - sum(occupant.held for occupant in view.occupants)
    used = f", other programs use {gibibytes(others)}" if others > GIBIBYTE // 2 else ""
    return f"{view.card.name} has {gibibytes(max(0, view.available))} free{used}"


def _too_large(demand: Demand, cards: Sequence[Card], rules: Rules) -> str | None:
    largest = max((card.total - rules.reserve for card in cards), default=0)
    if demand.least <= largest:
        return None
    return (
        f"{_named(demand)} needs {gibibytes(demand.least)} of memory, and {TOO_LARGE} "
        f"{gibibytes(max(0, largest))} available for it."
    )


def _crowded(demand: Demand, cards: Sequence[Card], ours: dict[str, int]) -> str:
    free = max(card.free + ours[card.key] for card in cards)
    return (
        f"{_named(demand)} needs {gibibytes(demand.least)} of memory; other programs leave at most "
        f"{gibibytes(max(0, free))} on any device."
    )


def _named(demand: Demand) -> str:
    return demand.service if demand.model is None else f"The model {demand.model}"


def gibibytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / GIBIBYTE:.1f} GiB"
