"""The choice of the cluster: a coordinator on SQLite is alone, one on PostgreSQL may have replicas."""

from __future__ import annotations

from agent import __version__
from agent.coordinator.cluster.cluster import Alone, Cluster
from agent.coordinator.cluster.replicas import Replicas
from agent.coordinator.store.database import Database


def open_cluster(database: Database) -> Cluster:
    """Return the cluster of the replicas that use a database."""
    if database.engine == "sqlite":
        return Alone()
    return Replicas(database.connect_session, __version__)
