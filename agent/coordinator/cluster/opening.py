"""The choice of the cluster: a coordinator on SQLite is alone, one on PostgreSQL may have replicas."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from agent import __version__
from agent.coordinator.cluster.cluster import Alone, Cluster
from agent.coordinator.store.database import Database


@runtime_checkable
class _Server(Protocol):
    """A database on a server, which has sessions."""

    async def connect_session(self) -> Any:
        """Return a connection that is not one of a pool."""


def open_cluster(database: Database) -> Cluster:
    """Return the cluster of the coordinators that use a database."""
    if not isinstance(database, _Server):
        return Alone()
    from agent.coordinator.cluster.replicas import Replicas  # noqa: PLC0415 - the driver of PostgreSQL is optional

    return Replicas(database.connect_session, __version__)
