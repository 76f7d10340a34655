"""The reputations of the miners that wait for work, for jobs that require one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from agent.coordinator import hooks
from agent.coordinator.hooks import UNKNOWN, TrackRecord
from agent.coordinator.store.database import Connection
from agent.core.matching import Candidate, Waiting

VALID_SECONDS: Final = 10.0
"""How long reputations are used before they are read again."""
WANTED_SECONDS: Final = 60.0
"""How long candidates still have reputations after the last job that requires one, so that they do not change in every round."""


class Reputations:
    """Adds their reputations to the candidates. It lasts from round to round, so that a job which nobody may run does not slow down all others."""

    def __init__(self) -> None:
        self._track_records: Mapping[str, TrackRecord] = {}
        self._read_at = -math.inf
        self._wanted_until = 0.0
        self._rated: dict[str, tuple[Candidate, Candidate]] = {}

    def added(
        self, connection: Connection, waiting: Sequence[Waiting], candidates: Sequence[Candidate], now: float
    ) -> Sequence[Candidate]:
        """Return the candidates with their reputations if a job requires one. Those that have not changed are the same objects as before."""
        if any(job.restrictions.min_reputation for job in waiting):
            self._wanted_until = now + WANTED_SECONDS
        if now >= self._wanted_until:
            self._rated = {}
            return candidates
        # The lower bound is for a clock that was set back: else they would never be read again.
        if not self._read_at <= now < self._read_at + VALID_SECONDS:
            self._track_records, self._read_at = hooks.track_records(connection, now, None), now
        self._rated = {
            candidate.miner_id: (candidate, self._with_reputation(candidate)) for candidate in candidates
        }
        return [rated for _, rated in self._rated.values()]

    def _with_reputation(self, plain: Candidate) -> Candidate:
        reputation = self._track_records.get(plain.miner_id, UNKNOWN).reputation
        earlier_plain, earlier_rated = self._rated.get(plain.miner_id, (None, plain))
        # The same object remains, because a round compares the miners by identity and would sort this one again.
        if earlier_plain is plain and earlier_rated.reputation == reputation:
            return earlier_rated
        return replace(plain, reputation=reputation)
