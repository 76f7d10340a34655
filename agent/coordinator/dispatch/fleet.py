"""The known miners: those that have registered, whether they are online or not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError

from agent.coordinator import hooks
from agent.coordinator.hooks import UNKNOWN, TrackRecord
from agent.coordinator.port import candidate_of
from agent.coordinator.store import miners
from agent.coordinator.store.database import Connection
from agent.coordinator.store.miners import MinerRecord
from agent.core.feasibility import KnownMiner
from agent.core.matching import Candidate
from agent.protocol.messages import Capabilities
from agent.settings.coordinator import CoordinatorSettings

MISSED_HEARTBEATS: Final = 3
"""A miner that missed this many heartbeats counts as offline."""
VALID_SECONDS: Final = 2.0
"""How long rounds of matching use the known miners before they are read again."""
TOO_OFTEN: Final = "Several jobs in a row could not run there."
"""Why the coordinator pauses a service of a miner."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What a miner's row needs of the capabilities that it has stored as `source`, in this session."""

    source: str
    session: int
    candidate: Candidate
    gpu_memories: tuple[int, ...]
    unavailable: Mapping[str, Sequence[str]]


@dataclass(slots=True)
class _Latest:
    parsed: _Parsed | None = None


@lru_cache(maxsize=4096)
def _latest(miner_id: str) -> _Latest:  # noqa: ARG001 - the cache's key
    """Return where a miner's last capabilities are held. Of one miner only these: it may change them every second."""
    return _Latest()


def _parsed(record: MinerRecord) -> _Parsed:
    """Parse stored capabilities, which change much more rarely than they are read.

    An older version may have stored them without all fields of this one.
    """
    latest = _latest(record.miner_id)
    cached = latest.parsed
    if cached is None or (cached.session, cached.source) != (record.session, record.capabilities):
        cached = latest.parsed = _parse(record)
    return cached


def _parse(record: MinerRecord) -> _Parsed:
    wire: dict[str, Any] = Capabilities.model_validate_json(record.capabilities).model_dump(mode="json")
    return _Parsed(
        record.capabilities,
        record.session,
        candidate_of(record.miner_id, record.session, wire["slots"], wire),
        tuple(gpu["memory_total"] for gpu in wire["gpus"]),
        wire.get("unavailable", {}),
    )


def offline_before(settings: CoordinatorSettings, now: float) -> float:
    """Return the time before which a miner's last heartbeat makes it offline."""
    return now - MISSED_HEARTBEATS * settings.heartbeat_seconds


def known_miners(connection: Connection, settings: CoordinatorSettings, now: float) -> list[KnownMiner]:
    """Return all registered miners. Their `busy` is not set."""
    pauses = hooks.restraints(connection, settings, now).pauses
    seen_after = offline_before(settings, now)
    track_records = hooks.track_records(connection, now, None)
    owners = miners.owners(connection)
    registered = (
        _known(record, seen_after, pauses, track_records) for record in miners.all_miners(connection)
    )
    return [
        replace(miner, owner=owner) if (owner := owners.get(miner.miner_id)) else miner
        for miner in registered
        if miner is not None
    ]


class FleetReader:
    """The known miners as they were a moment ago, because rounds of matching are too frequent to read all of them each time."""

    def __init__(self) -> None:
        self._miners: Sequence[KnownMiner] = ()
        self._read_at = -math.inf

    def miners(
        self, connection: Connection, settings: CoordinatorSettings, now: float
    ) -> Sequence[KnownMiner]:
        """Return all registered miners, read at most `VALID_SECONDS` ago."""
        # The lower bound is for a clock that was set back: else the list would never be read again.
        if not self._read_at <= now < self._read_at + VALID_SECONDS:
            self._miners = known_miners(connection, settings, now)
            self._read_at = now
        return self._miners


def _known(
    record: MinerRecord,
    seen_after: float,
    pauses: Mapping[tuple[str, str], float],
    track_records: Mapping[str, TrackRecord],
) -> KnownMiner | None:
    try:
        parsed = _parsed(record)
    except ValidationError:
        # An older version has accepted these capabilities. The miner sends them again when it registers with this one.
        return None
    candidate = replace(parsed.candidate, reputation=track_records.get(record.miner_id, UNKNOWN).reputation)
    return KnownMiner(
        with_pauses(candidate, pauses),
        record.name,
        online=record.seen_at >= seen_after,
        seen_at=record.seen_at,
        paused=record.paused,
        excluded=record.excluded_at is not None,
        excluded_reason=record.excluded_reason,
        suspended_until=pauses.get((record.miner_id, hooks.WHOLE), 0.0),
        gpu_memories=parsed.gpu_memories,
        unavailable=parsed.unavailable,
    )


def with_pauses(candidate: Candidate, pauses: Mapping[tuple[str, str], float]) -> Candidate:
    """Return the miner with the services marked that the coordinator pauses there."""
    paused = {service for miner_id, service in pauses if miner_id == candidate.miner_id}
    if not paused & candidate.services.keys():
        return candidate
    services = {
        service: replace(offer, paused=TOO_OFTEN) if service in paused else offer
        for service, offer in candidate.services.items()
    }
    return replace(candidate, services=services)
