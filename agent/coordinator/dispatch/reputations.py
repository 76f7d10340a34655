"""The reputations of the miners that wait for work, for jobs that require one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.coordinator.store import miner_stats
from agent.coordinator.store.database import Connection
from agent.core.market.reputation import shown
from agent.core.matching import Candidate, Waiting

VALID_SECONDS: Final = 10.0
"""How long a reputation is used before it is read again."""
WANTED_SECONDS: Final = 60.0
"""How long candidates still have reputations after the last job that requires one, so that they do not change in every round."""


@dataclass(slots=True)
class _Known:
    """What is known of a miner: `candidate` is `plain` with the reputation that was read at `read_at`."""

    plain: Candidate
    candidate: Candidate
    read_at: float


class Reputations:
    """Adds their reputations to the candidates. It lasts from round to round, so that a job which nobody may run does not slow down all others."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._wanted_until = 0.0

    def added(
        self, connection: Connection, waiting: Sequence[Waiting], candidates: Sequence[Candidate], now: float
    ) -> Sequence[Candidate]:
        """Return the candidates with their reputations if a job requires one. Those that have not changed are the same objects as before."""
        if any(job.restrictions.min_reputation for job in waiting):
            self._wanted_until = now + WANTED_SECONDS
        if now >= self._wanted_until:
            self._known = {}
            return candidates
        # Many miners have left, and what is known of them would remain for ever.
        if len(self._known) > 2 * len(candidates):
            present = {candidate.miner_id for candidate in candidates}
            self._known = {
                miner_id: cached for miner_id, cached in self._known.items() if miner_id in present
            }
        due = [candidate for candidate in candidates if not self._is_valid(candidate.miner_id, now)]
        if due:
            evidence = miner_stats.evidence_of(connection, [candidate.miner_id for candidate in due])
            for candidate in due:
                self._set(candidate, shown(evidence[candidate.miner_id], now), now)
        return [self._of(candidate) for candidate in candidates]

    def _is_valid(self, miner_id: str, now: float) -> bool:
        cached = self._known.get(miner_id)
        return cached is not None and now < cached.read_at + VALID_SECONDS

    def _set(self, plain: Candidate, reputation: float, now: float) -> None:
        cached = self._known.get(plain.miner_id)
        # The same object remains, because a round compares the miners by identity and would sort this one again.
        if cached is not None and cached.candidate.reputation == reputation:
            cached.read_at = now
        else:
            self._known[plain.miner_id] = _Known(plain, replace(plain, reputation=reputation), now)

    def _of(self, plain: Candidate) -> Candidate:
        cached = self._known[plain.miner_id]
        if cached.plain is not plain:
            cached.plain, cached.candidate = plain, replace(plain, reputation=cached.candidate.reputation)
        return cached.candidate
