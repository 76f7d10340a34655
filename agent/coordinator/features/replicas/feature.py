"""PostgreSQL, and several coordinators on one database: the engine, the replicas, and the move of a SQLite file to a server."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

from agent import __version__
from agent.coordinator.cluster import Cluster, Installation
from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.replicas.opening import check_database, open_database, read_database
from agent.coordinator.operations.context import Context

SCAN_SECONDS: Final = 1.0
"""Pause between scans for unfinished jobs."""


@runtime_checkable
class _OnServer(Protocol):
    """A `PostgresDatabase`, whose module needs the optional driver."""

    server: Any

    async def connect_session(self) -> Any:
        """Return a connection that is not one of a pool."""

    async def scan_unfinished(self, now: float) -> None:
        """Look which jobs are unfinished."""


def _open_cluster(installation: Installation) -> Cluster | None:
    database = installation.database
    if not isinstance(database, _OnServer):
        return None
    # The driver of PostgreSQL is optional.
    from agent.coordinator.features.replicas.installation import check_installation  # noqa: PLC0415 - as above
    from agent.coordinator.features.replicas.replicas import Replicas  # noqa: PLC0415 - as above

    check_installation(database.server.connect, installation.keys, installation.artifacts)
    return Replicas(database.connect_session, __version__)


async def _scan_unfinished(context: Context) -> None:
    if isinstance(context.database, _OnServer):
        await context.database.scan_unfinished(context.clock())


FEATURE: Final = Feature(
    name="replicas",
    tasks=(Task("unfinished", SCAN_SECONDS, _scan_unfinished, everywhere=True),),
    check_database=check_database,
    open_database=open_database,
    read_database=read_database,
    open_cluster=_open_cluster,
)
