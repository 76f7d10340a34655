"""What a feature declares about itself: all that the coordinator needs to know of it.

A feature is a folder below `agent/coordinator/features`, and its `feature.py` declares one `Feature`. `agent/features.py` lists the
features that there are; nothing else names them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from fastapi import APIRouter
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.cluster import Bus, Cluster, Installation
from agent.coordinator.hooks import NO_HOOKS, Hooks
from agent.coordinator.http.bodies import BodyLimit
from agent.coordinator.operations.callers import ReadCredential
from agent.coordinator.operations.context import CheckHealth, Context, ReadMetrics
from agent.coordinator.operations.files.examination import Examine
from agent.coordinator.signer import Signer
from agent.coordinator.store.database import Connection, Database
from agent.metrics import Meter, Metric
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Task:
    """Work that the leading replica repeats, or each one `everywhere`: `step`, with pauses of `seconds`, which may depend on settings.

    `name` is that of its task in logs and in health.
    """

    name: str
    seconds: float | Callable[[Context], float]
    step: Callable[[Context], Awaitable[object]]
    everywhere: bool = False


class Part(Protocol):
    """A feature's own long-lived object, which `Context.part` returns by its class."""

    async def close(self) -> None:
        """Release what it holds, when the coordinator stops. It is not used afterwards."""


@runtime_checkable
class Worker(Part, Protocol):
    """A part that works."""

    async def run(self) -> None:
        """Work until cancelled, in the leading replica. May be called again afterwards."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a part is made from. `directory` is the coordinator's, `key_file` that of `signer`; `clock` returns seconds since the epoch."""

    settings: Settings
    directory: Path
    signer: Signer
    key_file: Path
    database: Database
    artifacts: BlobStore
    bus: Bus
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature. `open` makes its `part`, if it has one. Its routers come after the kernel's.

    The kernel keeps its database and its artifacts in files, and is alone. Where the settings name something else, a feature opens
    it: `open_database` and `read_database` (one snapshot, while others may use it), `open_blobs`, and `open_cluster` if other coordinators
    can use the database. They return None if it is not theirs, and raise `ConfigurationError` if it must not or cannot be used.
    A replica that begins to lead calls `begin`, and then runs the tasks and the part. `read_metrics` returns those metrics that are declared with `read`.
    `health` are the names of what `check_health` returns: parts of the health, and which of them are well. `aitbc-agent fsck` calls `examine`.
    `pages` returns routes that are not part of the API, `middleware` are ASGI applications around another one, and around the middleware of earlier features.
    Pages of other origins may read the `exposed_headers`. `credentials` find what identifies the caller of a request that has no key.
    """

    name: str
    after: tuple[str, ...] = ()
    """Features that come earlier in the list, if there are any of these names: their hooks run first."""
    routers: tuple[APIRouter, ...] = ()
    middleware: tuple[Callable[[ASGIApp, Context], ASGIApp], ...] = ()
    exposed_headers: tuple[str, ...] = ()
    credentials: tuple[ReadCredential, ...] = ()
    body_limits: tuple[BodyLimit, ...] = ()
    """The limits of bodies that differ from those of most calls."""
    pages: Callable[[Context], Sequence[BaseRoute]] | None = None
    metrics: tuple[Metric, ...] = ()
    read_metrics: ReadMetrics | None = None
    tasks: tuple[Task, ...] = ()
    part: type[Part] | None = None
    open: Callable[[Opening], Part] | None = None
    check_database: Callable[[Settings], None] | None = None
    """Raise `ConfigurationError` if the database of the settings must be neither opened nor backed up."""
    open_database: Callable[[Settings, Meter], Database | None] | None = None
    read_database: Callable[[Settings], AbstractContextManager[Connection] | None] | None = None
    open_blobs: Callable[[Settings], BlobStore | None] | None = None
    open_cluster: Callable[[Installation], Cluster | None] | None = None
    begin: Callable[[Context], Awaitable[object]] | None = None
    health: tuple[str, ...] = ()
    check_health: CheckHealth | None = None
    examine: Examine | None = None
    hooks: Hooks = NO_HOOKS
