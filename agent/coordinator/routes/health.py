"""`/v1/health`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from agent import __version__
from agent.coordinator.operations import health as operations
from agent.coordinator.routes._callers import ContextOf
from agent.core.values import fields
from agent.core.values.fields import Answer, example
from agent.core.values.quantities import format_time

router = APIRouter(prefix="/v1", tags=["Health"])


class Health(Answer):
    """The health of the coordinator. `checked_at` is when the database was last known to answer, or not to; `log_key` verifies receipts."""

    model_config = example(
        {
            "status": "ok",
            "version": "1.0.0",
            "environment": "production",
            "timestamp": "2024-01-01T12:00:00Z",
            "services": {"database": "healthy", "blockchain": "healthy", "marketplace": "healthy"},
            "checked_at": "2024-01-01T11:59:57Z",
            "log_key": "log.example.org+3f1c9a02+AQ==",
        }
    )

    status: Literal["ok", "degraded"]
    version: str
    environment: str
    timestamp: fields.Time
    services: dict[str, Literal["healthy", "unhealthy"]]
    checked_at: fields.Time
    log_key: str


@router.get("/health", summary="Health of the coordinator")
async def health(context: ContextOf) -> Health:
    """Needs no key, and answers at once, even while the database hangs.

    It states what is known of `database`, `blockchain` (the log), `marketplace` (the dispatcher) and `storage` (free disk space). The database and the log
    are checked every five seconds, at `checked_at`. `storage` is present and unhealthy while the disk has less free space than
    `coordinator.storage_reserve`: uploads get 507, jobs continue.
    """
    services = operations.states(context)
    status: Literal["ok", "degraded"] = "ok" if set(services.values()) == {"healthy"} else "degraded"
    return Health(
        status=status,
        version=__version__,
        environment=context.settings.environment,
        timestamp=format_time(context.clock()),
        services=services,
        checked_at=format_time(context.health.checked_at),
        log_key=context.signer.vkey,
    )
