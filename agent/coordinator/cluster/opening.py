"""The choice of the cluster: a coordinator on SQLite is alone, one on PostgreSQL may have replicas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from agent import __version__
from agent.coordinator.cluster.cluster import Alone, Cluster
from agent.coordinator.store.database import Database


@runtime_checkable
class _Server(Protocol):
    """A database on a server, which several coordinators can use."""

    server: Any

    async def connect_session(self) -> Any:
        """Return a connection that is not one of a pool."""


def open_cluster(database: Database) -> Cluster:
    """Return the cluster of the coordinators that use a database."""
    if not isinstance(database, _Server):
        return Alone()
    from agent.coordinator.cluster.replicas import Replicas  # noqa: PLC0415 - the driver of PostgreSQL is optional

    return Replicas(database.connect_session, __version__)


def require_same_installation(database: Database, keys: Mapping[Path, bytes], artifacts: Path | str) -> None:
    """Raise `ConfigurationError` if replicas have other key files, or artifacts elsewhere. See `check_installation`."""
    if not isinstance(database, _Server):
        return
    from agent.coordinator.cluster.installation import check_installation  # noqa: PLC0415

    check_installation(database.server.connect, keys, artifacts)
