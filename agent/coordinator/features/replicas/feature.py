"""Replicas: several coordinators on one PostgreSQL database."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

from agent import __version__
from agent.coordinator.cluster.cluster import Cluster, Installation
from agent.coordinator.feature import Feature


@runtime_checkable
class _Server(Protocol):
    """A database on a server, which several coordinators can use."""

    server: Any

    async def connect_session(self) -> Any:
        """Return a connection that is not one of a pool."""


def _open_cluster(installation: Installation) -> Cluster | None:
    database = installation.database
    if not isinstance(database, _Server):
        return None
    # The driver of PostgreSQL is optional.
    from agent.coordinator.features.replicas.installation import check_installation  # noqa: PLC0415 - as above
    from agent.coordinator.features.replicas.replicas import Replicas  # noqa: PLC0415 - as above

    check_installation(database.server.connect, installation.keys, installation.artifacts)
    return Replicas(database.connect_session, __version__)


FEATURE: Final = Feature(name="replicas", open_cluster=_open_cluster)
