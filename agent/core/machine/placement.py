"""Which device gets which model, and what has to leave for it.

A card's free memory is the driver's figure for all programs together, so what others use is respected by itself. What
our own models may still take beyond what that figure counts already is set aside before anything else is placed. The
decisions are pure: whoever carries one out that evicts measures again and asks again, so that nothing is ever loaded on
the strength of memory that was only hoped for.

A machine without a GPU is one card whose memory is the machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

GIBIBYTE: Final = 2**30
TOO_LARGE: Final = "no device here has more than"
"""Stands in every reason that will not change while the machine stays as it is."""


@dataclass(frozen=True, slots=True)
class Card:
    """A device at one moment; sizes in bytes. `free` counts the use of all programs."""

    key: str
    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Resident:
    """One of our processes that holds a model on a card, or is about to.

    `footprint` is the most that it may take, `held` what the card's figure counts of it already; bytes. `runs` of
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
        """What it may still take beyond what is counted."""
        return max(0, self.footprint - self.held)


@dataclass(frozen=True, slots=True)
class Demand:
    """A job that wants a place. `need` is what its model takes at full speed, `least` what it can do with; bytes."""

    service: str
    model: str | None
    need: int
    least: int


@dataclass(frozen=True, slots=True)
class Rules:
    """`reserve` bytes of every card stay free for its owner; a card has at most `per_card` working processes."""

    reserve: int = 0
    per_card: int = 1


@dataclass(frozen=True, slots=True)
class Join:
    """Run it in this resident, once those of `evict` are gone."""

    key: int
    evict: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Load it on this card, where it may take `budget` bytes, once those of `evict` are gone."""

    card: str
    budget: int
    evict: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """There is no room now; there may be when something ends. The reason is a sentence for the owner."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """It never fits on these cards."""

    reason: str


Decision: TypeAlias = Join | Place | Wait | Refuse


@dataclass(frozen=True, slots=True)
class _View:
    """A card with our processes on it."""

    card: Card
    residents: tuple[Resident, ...]
    rules: Rules

    @property
    def working(self) -> int:
        return sum(resident.runs > 0 for resident in self.residents)

    @property
    def has_turn(self) -> bool:
        return self.working < self.rules.per_card

    @property
    def available(self) -> int:
        """Bytes that nobody uses and nobody has been promised."""
        promised = sum(resident.growth for resident in self.residents if resident.runs > 0)
        return self.card.free - self.rules.reserve - promised

    def idle(self, spare: int | None = None) -> list[Resident]:
        """What could leave, the least recently used first."""
        found = [item for item in self.residents if item.runs == 0 and item.held > 0 and item.key != spare]
        return sorted(found, key=lambda resident: (resident.used_at, resident.key))

    def evictions(self, size: int, spare: int | None = None) -> tuple[int, ...] | None:
        """The idle residents whose leaving makes `size` bytes available; None if not even all of them do."""
        missing = size - self.available
        leaving: list[int] = []
        for resident in self.idle(spare):
            if missing <= 0:
                break
            leaving.append(resident.key)
            missing -= resident.held
        return tuple(leaving) if missing <= 0 else None


def decide(demand: Demand, cards: Sequence[Card], residents: Iterable[Resident], rules: Rules) -> Decision:
    """Where a job goes. A warm model is used before one is loaded, free memory before anybody is evicted."""
    everywhere = tuple(residents)
    views = [
        _View(card, tuple(item for item in everywhere if item.card == card.key), rules) for card in cards
    ]
    return _join(demand, views) or _place(demand, views) or _why_not(demand, views, rules)


def overdue(cards: Sequence[Card], residents: Iterable[Resident], rules: Rules) -> tuple[int, ...]:
    """Idle residents that should leave now because another program has taken what is kept free for the owner."""
    everywhere = tuple(residents)
    leaving: list[int] = []
    for card in cards:
        view = _View(card, tuple(item for item in everywhere if item.card == card.key), rules)
        missing = rules.reserve - card.free
        for resident in view.idle():
            if missing <= 0:
                break
            leaving.append(resident.key)
            missing -= resident.held
    return tuple(leaving)


def obstacle(
    demand: Demand, cards: Sequence[Card], residents: Iterable[Resident], rules: Rules
) -> str | None:
    """Why a model cannot be had at present, even with everything of ours gone; None if it can."""
    ours = {card.key: sum(item.held for item in residents if item.card == card.key) for card in cards}
    if any(card.free + ours[card.key] - rules.reserve >= demand.least for card in cards):
        return None
    return _too_large(demand, cards, rules) or _crowded(demand, cards, ours)


def _join(demand: Demand, views: Sequence[_View]) -> Join | None:
    """A resident with the model: one that works and has a seat left, else an idle one, if it may grow as it must."""
    fitting = [
        (view, resident)
        for view in views
        for resident in view.residents
        if (resident.service, resident.model) == (demand.service, demand.model)
        and resident.runs < resident.capacity
        and resident.footprint >= demand.least
    ]
    for _, resident in sorted(fitting, key=lambda pair: (pair[1].runs, pair[1].key)):
        if resident.runs > 0:
            return Join(resident.key)
    options = []
    for view, resident in fitting:
        if view.has_turn and (leaving := view.evictions(resident.growth, resident.key)) is not None:
            options.append((len(leaving), view.working, -resident.used_at, resident.key, leaving))
    if not options:
        return None
    *_, key, leaving = min(options)
    return Join(key, leaving)


def _place(demand: Demand, views: Sequence[_View]) -> Place | None:
    """The card where the model fits: in full before with savings, without evicting before with it."""
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
            return Place(view.card.key, budget, leaving)
    return None


def _why_not(demand: Demand, views: Sequence[_View], rules: Rules) -> Wait | Refuse:
    cards = [view.card for view in views]
    if (reason := _too_large(demand, cards, rules)) is not None:
        return Refuse(reason)
    states = "; ".join(_state(view) for view in views) or "no device answers"
    return Wait(f"{_named(demand)} needs {gibibytes(demand.least)}: {states}.")


def _state(view: _View) -> str:
    if not view.has_turn:
        return f"{view.card.name} is working"
    others = view.card.total - view.card.free - sum(resident.held for resident in view.residents)
    used = f", other programs use {gibibytes(others)}" if others > GIBIBYTE // 2 else ""
    return f"{view.card.name} has {gibibytes(max(0, view.available))} to spare{used}"


def _too_large(demand: Demand, cards: Sequence[Card], rules: Rules) -> str | None:
    largest = max((card.total - rules.reserve for card in cards), default=0)
    if demand.least <= largest:
        return None
    return (
        f"{_named(demand)} needs {gibibytes(demand.least)} of memory, and {TOO_LARGE} "
        f"{gibibytes(max(0, largest))} for it."
    )


def _crowded(demand: Demand, cards: Sequence[Card], ours: dict[str, int]) -> str:
    free = max(card.free + ours[card.key] for card in cards)
    return (
        f"{_named(demand)} needs {gibibytes(demand.least)} of memory; other programs leave no more than "
        f"{gibibytes(max(0, free))} on any device."
    )


def _named(demand: Demand) -> str:
    return demand.service if demand.model is None else f"The model {demand.model}"


def gibibytes(size: int) -> str:
    """A size for people."""
    return f"{size / GIBIBYTE:.1f} GiB"
