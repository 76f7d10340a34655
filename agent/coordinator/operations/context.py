"""The context that all use cases share, which is created when the coordinator starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from agent.coordinator.cluster import Alone, Cluster
from agent.coordinator.operations.caches import Caches
from agent.coordinator.operations.callers import ReadCredential
from agent.coordinator.randomness import random_bytes
from agent.coordinator.store.database import Connection, Database
from agent.coordinator.store.events import NewEvent
from agent.core.jobs import JobState
from agent.core.liveness import Liveness
from agent.core.values.quantities import format_time, make_id
from agent.metrics import Meter, Metric, Values

if TYPE_CHECKING:  # the context has the parts, and needs none of their code
    from agent.catalogue import CatalogueEntry
    from agent.coordinator.blobs.space import Space
    from agent.coordinator.blobs.store import BlobStore
    from agent.coordinator.connections import Connections
    from agent.coordinator.dispatch.dispatcher import Dispatcher
    from agent.coordinator.feed.feed import Feed
    from agent.coordinator.signer import Signer
    from agent.settings.coordinator import CoordinatorSettings
    from runners.api import ServiceDefinition

T = TypeVar("T")

ReadMetrics: TypeAlias = "Callable[[Connection, Context, float], Mapping[Metric, Values]]"
CheckHealth: TypeAlias = "Callable[[Connection, Context], Mapping[str, bool]]"


@dataclass(frozen=True, slots=True)
class Features:
    """What the use cases of the kernel know of features."""

    parts: Mapping[type[Any], Any] = field(default_factory=dict)
    """Their long-lived objects, by their class."""
    cluster: Cluster = field(default_factory=Alone)
    """The coordinators on the same database: one of the features knows of others."""
    metrics: Sequence[ReadMetrics] = ()
    health_checks: Sequence[CheckHealth] = ()
    credentials: Sequence[ReadCredential] = ()
    """They read what identifies the caller of a request without a key."""

    def read_metrics(self, connection: Connection, context: Context, now: float) -> dict[Metric, Values]:
        """Return the values of their metrics that are declared with `read`."""
        gauges: dict[Metric, Values] = {}
        for read in self.metrics:
            gauges |= read(connection, context, now)
        return gauges

    def check_health(self, connection: Connection, context: Context) -> dict[str, bool]:
        """Return which of their parts are well."""
        well: dict[str, bool] = {}
        for check in self.health_checks:
            well |= check(connection, context)
        return well


@dataclass(slots=True)
class HealthState:
    """What the last check of the database and of `features`, by name, has found. `checked_at` is in seconds since the epoch.

    A coordinator starts with all of them, so they are healthy until the first check.
    """

    checked_at: float = field(default_factory=time.time)
    database_answers: bool = True
    features: Mapping[str, bool] = field(default_factory=dict)

    def note(self, now: float, *, database_answers: bool, features: Mapping[str, bool]) -> None:
        """Replace what is known."""
        self.checked_at = now
        self.database_answers = database_answers
        self.features = features


@dataclass(frozen=True, slots=True)
class Files:
    """Where artifacts are."""

    blobs: BlobStore
    space: Space
    """What limits the bytes of clients and miners, and the space that stays free on the disks."""
    link_key: bytes
    """The secret behind signed links."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What clients may request, whether a miner offers it or not."""

    services: Mapping[str, ServiceDefinition]
    models: Mapping[str, CatalogueEntry]


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What the coordinator knows of its own state."""

    meter: Meter
    liveness: Liveness = field(default_factory=Liveness)
    """Receives reports of progress, in the event loop's time."""
    health: HealthState = field(default_factory=HealthState)


@dataclass(frozen=True, slots=True)
class Context:
    """The coordinator's parts. `clock` returns seconds since the epoch."""

    settings: CoordinatorSettings
    database: Database
    feed: Feed
    dispatcher: Dispatcher
    files: Files
    signer: Signer
    catalogue: Catalogue
    clock: Callable[[], float]
    monitoring: Monitoring
    connections: Connections
    features: Features = field(default_factory=Features)
    caches: Caches = field(default_factory=Caches)

    def part(self, kind: type[T]) -> T:
        """Return a feature's part."""
        part: T = self.features.parts[kind]
        return part

    def new_id(self, prefix: str) -> str:
        """Return a new time-ordered, unguessable id."""
        return make_id(prefix, self.clock(), random_bytes(10))

    def progress_of(self, job_id: str, account_id: str, miner_id: str, progress: int) -> NewEvent:
        """Return the event that reports a running job's progress."""
        now = format_time(self.clock())
        data = {"job_id": job_id, "status": JobState.RUNNING.value, "progress": progress, "timestamp": now}
        return NewEvent("job_progress", data, account_id, miner_id, job_id)


__all__ = ["Connection", "Context"]
