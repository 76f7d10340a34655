"""How many more jobs a miner can begin: free slots, and free seats in batches that run already.

Both sides of the miner protocol count with this, so that a lease on its way is taken off in the same manner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Batch: TypeAlias = tuple[str, str | None]
"""A service and a model: jobs that agree in both may be computed together."""


@dataclass(slots=True)
class Room:
    """A job takes a free seat of its batch if there is one, else a slot, which opens further seats for its batch."""

    slots: int
    seats: dict[Batch, int] = field(default_factory=dict)

    def take(self, service: str, model: str | None, concurrency: int) -> bool:
        """Take the place of one job. Returns whether there was one. `concurrency` is how many jobs a batch holds."""
        batch = (service, model)
        if self.seats.get(batch, 0) > 0:
            self.seats[batch] -= 1
            return True
        if self.slots <= 0:
            return False
        self.slots -= 1
        if concurrency > 1:
            self.seats[batch] = concurrency - 1
        return True
