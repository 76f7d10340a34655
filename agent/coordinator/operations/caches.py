"""Values that are read from the database often and change seldom, so they are held in memory for a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median, median_low
from typing import Any, Final

from agent.coordinator.cluster import Bus
from agent.coordinator.operations.callers import Caller, Session
from agent.core.feasibility import KnownMiner

MAX_ANSWERS: Final = 10_000
"""Cached answers about the known miners."""
UNMEASURED_SECONDS: Final = 300.0
"""The reference's five minutes, used until a duration has been measured."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What registered miners offer for a service. All fields but `models` count only miners that are online and not paused.

    `ready` are the models on their disks for which they accept jobs; with `downloads`, at least one miner fetches others.
    `prices` are per metered unit, lowest first; `speeds` are benchmark scores by metric, slowest first.
    """

    models: frozenset[str] = frozenset()
    online: int = 0
    ready: frozenset[str] = frozenset()
    downloads: bool = False
    prices: tuple[Decimal, ...] = ()
    speeds: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def lowest_price(self) -> Decimal | None:
        """The lowest price of a unit; None if no miner is online."""
        return self.prices[0] if self.prices else None

    @property
    def typical_price(self) -> Decimal | None:
        """The median price of a unit, rounded down to a price that a miner asks."""
        return median_low(self.prices) if self.prices else None

    @property
    def speed(self) -> tuple[str, float, float] | None:
        """The metric that most miners have measured, with the best and the median score."""
        if not self.speeds:
            return None
        metric, scores = max(self.speeds.items(), key=lambda item: len(item[1]))
        return metric, scores[-1], median(scores)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The known miners when they were read, and what they offer by service. `answers` caches what was derived from them, by question."""

    read_at: float
    miners: tuple[KnownMiner, ...]
    supplies: dict[str, Supply]
    answers: dict[Hashable, Any] = field(default_factory=dict)

    def answer(self, question: Hashable, find: Callable[[], bool]) -> bool:
        """Return the answer to a question about these miners, which `find` finds if it is not cached."""
        cached: bool | None = self.answers.get(question)
        if cached is not None:
            return cached
        # The fleet is read again within seconds anyway, so it is not worth choosing which answers to drop.
        if len(self.answers) >= MAX_ANSWERS:
            self.answers.clear()
        self.answers[question] = answer = find()
        return answer


@dataclass(frozen=True, slots=True)
class Estimates:
    """Typical seconds of a run by service and model, and the seconds of queued work by service."""

    read_at: float
    typical: dict[tuple[str, str], float]
    ahead: dict[str, float]

    def duration(self, service: str, model: str | None) -> float:
        """Return the typical seconds of one run."""
        return self.typical.get((service, model or ""), UNMEASURED_SECONDS)

    def waiting_job(self, service: str, model: str | None, now: float) -> float:
        """Return the expected end of a job that is submitted now."""
        return now + self.ahead.get(service, 0.0) + self.duration(service, model)

    def running_job(self, service: str, model: str | None, started_at: float, now: float) -> float:
        """Return the expected end of a running job, which is never in the past."""
        return max(started_at + self.duration(service, model), now)


@dataclass(slots=True)
class Caches:
    """The cached values. `callers` are by the fingerprint of their credential, `sessions` by the SHA-256 of their token.

    Times are those at which the values were read. What is invalidated here, all replicas forget. A dictionary is replaced, not cleared: a
    lookup that began before then stores its result in the old one. Of the requests that find a value too old, the one that has its lock reads
    it again, for all; again if the miners have changed meanwhile (`supply_changes`).
    """

    callers: dict[str, tuple[float, Caller]] = field(default_factory=dict)
    sessions: dict[str, tuple[float, Session]] = field(default_factory=dict)
    supply: Fleet | None = None
    estimates: Estimates | None = None
    supply_changes: int = 0
    supply_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    estimates_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    bus: Bus = field(default_factory=Bus)

    def __post_init__(self) -> None:
        self.bus.handle("forget", lambda _, names: self._forget(*names), list[str])
        # A lost message may have been a revocation, so everything is looked up again.
        self.bus.on_lost(lambda: self._forget("callers", "sessions", "supply"))

    def forget_callers(self) -> None:
        """Have all credentials looked up again: one was revoked, or has ended."""
        self._forget_everywhere("callers")

    def forget_sessions(self) -> None:
        """Have miners' sessions looked up again, and the supply read again: a miner joined, left, or changed."""
        self._forget_everywhere("sessions", "supply")

    def forget_session(self, miner_id: str) -> None:
        """Have a miner's session looked up again, and the supply read again: it offers something else."""
        self._forget_everywhere("supply", miner_id)

    def _forget_everywhere(self, *names: str) -> None:
        self._forget(*names)
        self.bus.send("forget", names)

    def _forget(self, *names: str) -> None:
        if "callers" in names:
            self.callers = {}
        if "sessions" in names:
            self.sessions = {}
        if "supply" in names:
            self.supply = None
            # A read that has begun before this sees that its result is too old.
            self.supply_changes += 1
        if miners := set(names) - {"callers", "sessions", "supply"}:
            self.sessions = {
                sha256: cached for sha256, cached in self.sessions.items() if cached[1].miner_id not in miners
            }
