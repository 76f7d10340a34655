"""`/metrics`: what Prometheus reads. It is no part of the API for clients."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from agent.coordinator.operations import metrics as operations
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.accounts.access import Role
from agent.coordinator.routes._callers import ContextOf, MaybeCredential
from agent.core.rates import lies_in
from agent.metrics import MEDIA_TYPE

router = APIRouter()

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@router.get("/metrics", include_in_schema=False)
async def metrics(context: ContextOf, request: Request, secret: MaybeCredential) -> Response:
    """For the addresses of `coordinator.metrics_readers`, and for administrators' keys from anywhere."""
    host = request.client.host if request.client else None
    # What a proxy has forwarded comes from somebody else than the proxy, and what names another host may come from a page in a browser.
    direct = request.scope["known_host"] and not any(name in request.headers for name in _FORWARDED)
    if not (direct and lies_in(host, context.settings.metrics_readers)):
        access.require(await access.authenticate(context, secret), Role.ADMIN)
    return Response(await operations.exposition(context), media_type=MEDIA_TYPE)
