"""`/v1/health`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from agent import __version__
from agent.coordinator.operations import health as operations
from agent.coordinator.routes._answers import Health
from agent.coordinator.routes._callers import ContextOf

router = APIRouter(tags=["Health"])


@router.get("/health", summary="Whether the coordinator works")
async def health(context: ContextOf) -> Health:
    """Open without a key. `database`, `blockchain` (the log), `marketplace` (the dispatcher) and `storage` (free disk space) are checked anew.

    `storage` is unhealthy while the disk has less free space than `coordinator.storage_reserve`: uploads get 507, jobs go on.
    """
    services = await operations.check(context)
    status: Literal["ok", "degraded"] = "ok" if set(services.values()) == {"healthy"} else "degraded"
    return Health(
        status=status,
        version=__version__,
        environment=context.settings.environment,
        timestamp=operations.now(context),
        services=services,
        log_key=context.signer.vkey,
    )
