"""`/v1/services/...`: one call per service, each creates a job of its kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response, status

from agent.coordinator.operations import jobs as operations
from agent.coordinator.routes._answers import JobCreated
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey, PreferredWait
from runners._base import ServiceDefinition
from runners._registry import installed

router = APIRouter(prefix="/services", tags=["Services"])


def _call(definition: ServiceDefinition) -> Callable[..., Awaitable[JobCreated]]:
    async def call(
        context: ContextOf,
        caller: Client,
        body: Annotated[dict[str, Any], Body()],
        wait: PreferredWait,
        response: Response,
        key: IdempotencyKey = None,
    ) -> JobCreated:
        created = await operations.submit_service_call(context, caller, definition, body, key)
        if wait:
            created = await operations.wait_for_end(context, caller, created, wait)
            response.headers["Preference-Applied"] = f"wait={wait}"
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
