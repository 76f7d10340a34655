"""`/v1/services/...`: one call per service, each creates a job of its kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, status

from agent.coordinator.operations import jobs as operations
from agent.coordinator.routes._answers import JobCreated
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey
from runners._base import ServiceDefinition
from runners._registry import installed

router = APIRouter(prefix="/services", tags=["Services"])

MAX_WAIT_SECONDS: Final = 60


def preferred_wait(prefer: str | None) -> int:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most a minute; 0 without."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isdecimal():
            return min(int(value[:4]), MAX_WAIT_SECONDS)
    return 0


def _call(definition: ServiceDefinition) -> Callable[..., Awaitable[JobCreated]]:
    async def call(
        context: ContextOf,
        caller: Client,
        body: Annotated[dict[str, Any], Body()],
        key: IdempotencyKey = None,
        prefer: Annotated[str | None, Header(description="`wait=N`: hold the answer up to N seconds")] = None,
    ) -> JobCreated:
        created = await operations.submit_service_call(context, caller, definition, body, key)
        seconds = preferred_wait(prefer)
        if seconds:
            done = await operations.wait_until_final(context, caller, created["job_id"], seconds)
            created |= {name: done[name] for name in ("status", "results", "error") if name in done}
        return JobCreated(**created)

    call.__doc__ = (
        f"{definition.description} The body holds the service's input, and beside it the options of any job: "
        "`name`, `pricing`, `priority`, `timeout_seconds`, `max_attempts`, `resources`, `miner_id`, `webhook_url`."
    )
    return call


for _definition in (runner.definition for runner in installed().values()):
    if _definition.route is not None:
        router.add_api_route(
            f"/{_definition.route}",
            _call(_definition),
            methods=["POST"],
            status_code=status.HTTP_201_CREATED,
            response_model_exclude_none=True,
            name=_definition.service_id,
            summary=_definition.name,
        )
