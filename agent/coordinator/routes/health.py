"""`/v1/health`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from agent import __version__
from agent.coordinator.operations.health import states
from agent.coordinator.routes._callers import ContextOf
from agent.core.values.quantities import format_time
from agent.core.versions import oldest_client
from aitbc.answers.health import Health

router = APIRouter(prefix="/v1", tags=["Health"])


@router.get("/health", summary="Health of the coordinator")
async def health(context: ContextOf) -> Health:
    """Needs no key, and answers at once, even while the database hangs.

    It states what is known of `database`, `blockchain` (the log), `marketplace` (the dispatcher) and `storage` (free disk space). The database and the log
    are checked every five seconds, at `checked_at`. `storage` is present and unhealthy while the disk has less free space than
    `coordinator.storage_reserve`: uploads get 507, jobs continue.
    """
    services = states(context)
    status: Literal["ok", "degraded"] = "ok" if set(services.values()) == {"healthy"} else "degraded"
    return Health(
        status=status,
        version=__version__,
        oldest_client="{}.{}".format(*oldest_client(__version__)),
        environment=context.settings.environment,
        timestamp=format_time(context.clock()),
        services=services,
        checked_at=format_time(context.monitoring.health.checked_at),
        log_key=context.signer.vkey,
    )
