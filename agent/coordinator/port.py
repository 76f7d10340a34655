"""A connection of a miner that can take leases, and how many it can take now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from agent.core.errors import ApiError
from agent.core.matching import Batch, Candidate, CandidateService, FreeCapacity
from agent.core.values.quantities import parse_money

LeaseMessage = Mapping[str, Any]


class Port:
    """One connection of a miner that can take leases.

    `deliver` sends a lease and returns whether it succeeded; `cancelled` notifies the miner that a lease is void; `heartbeat`
    requests a heartbeat, because commands are waiting; `close` ends the connection with the reason why its session is invalid.
    """

    def __init__(
        self,
        miner_id: str,
        session: int,
        *,
        deliver: Callable[[LeaseMessage], bool],
        cancelled: Callable[[str, int], None],
        heartbeat: Callable[[], None],
        close: Callable[[ApiError], None],
        capabilities: Mapping[str, Any],
    ) -> None:
        self.miner_id = miner_id
        self.session = session
        self.deliver = deliver
        self.cancelled = cancelled
        self.heartbeat = heartbeat
        self.close = close
        self.free = FreeCapacity(0, {}, {})
        self.capabilities = capabilities
        self._sent = 0
        self._in_transit: deque[tuple[int, Batch]] = deque()

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """The miner's capabilities, as on the wire."""
        return self._capabilities

    @capabilities.setter
    def capabilities(self, capabilities: Mapping[str, Any]) -> None:
        self._capabilities = capabilities
        self._parsed = candidate_of(self.miner_id, self.session, 0, capabilities)
        self._concurrency = {name: offer.concurrency for name, offer in self._parsed.services.items()}
        self._candidate: Candidate | None = None

    def set_free(self, slots: int, batch_capacity: Mapping[Batch, int], received: int) -> None:
        """Set the free capacity that the miner reported after `received` leases of this port, less leases in transit."""
        # What the miner had received when it reported is in its numbers already.
        while self._in_transit and self._in_transit[0][0] <= received:
            self._in_transit.popleft()
        self.free = FreeCapacity(slots, batch_capacity, self._concurrency)
        self._candidate = None
        # The miner did not know of these: without them the same slot would be given away twice.
        for _, (service, model) in self._in_transit:
            self.free.reserve(service, model)

    def give(self, lease: LeaseMessage) -> bool:
        """Deliver a lease. Return False if there is no capacity for it, or the connection accepts no more."""
        batch = (lease["service"], lease["spec"]["model"])
        self._candidate = None
        if not self.free.reserve(*batch) or not self.deliver(lease):
            return False
        self._sent += 1
        self._in_transit.append((self._sent, batch))
        return True

    def candidate(self) -> Candidate:
        """Return the miner as the matching sees it; the same object as before if nothing has changed."""
        if self._candidate is None:
            free = self.free
            self._candidate = replace(
                self._parsed, slots=free.slots, batch_capacity=dict(free.batch_capacity)
            )
        return self._candidate


def candidate_of(
    miner_id: str,
    session: int,
    slots: int,
    capabilities: Mapping[str, Any],
    batch_capacity: Mapping[Batch, int] | None = None,
) -> Candidate:
    """Return a miner as the matching sees it, from its capabilities on the wire."""
    services = {
        service: CandidateService(
            unit_price=parse_money(offer["unit_price"]),
            models=frozenset(offer["models"]),
            loaded=frozenset(offer["loaded"]),
            downloadable=offer["downloadable"],
            unavailable_models=frozenset(offer["unavailable_models"]),
            concurrency=offer["concurrency"],
            gpus=offer.get("gpus", 1),  # a registration of an earlier version has none
            features=offer.get("features", {}),
            paused=offer.get("paused"),
        )
        for service, offer in capabilities["services"].items()
    }
    return Candidate(
        miner_id=miner_id,
        session=session,
        slots=slots,
        services=services,
        cpu_cores=Decimal(capabilities["cpu_cores"]),
        memory=capabilities["memory"],
        gpus=len(capabilities["gpus"]),
        capacity=capabilities["slots"] * max((offer.concurrency for offer in services.values()), default=1),
        batch_capacity=batch_capacity or {},
    )
