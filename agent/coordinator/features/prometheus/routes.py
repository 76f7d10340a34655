"""`/metrics` for Prometheus, which is not part of the clients' API."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.routing import BaseRoute

from agent.coordinator.features.prometheus.exposition import exposition
from agent.coordinator.features.prometheus.settings import PrometheusSettings
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.context import Context
from agent.coordinator.routes._callers import ContextOf, MaybeCredential
from agent.core.values.networks import lies_in
from agent.metrics import MEDIA_TYPE
from agent.sections import section_of
from aitbc.answers.accounts import Role

_router = APIRouter()

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@_router.get("/metrics")
async def metrics(context: ContextOf, request: Request, secret: MaybeCredential) -> Response:
    """Serve the addresses of `coordinator.metrics_readers`, and administrators' keys from any address."""
    readers = section_of(context.settings, PrometheusSettings).metrics_readers
    host = request.client.host if request.client else None
    # A forwarded request is not from the proxy's address, and one with an unknown Host may come from a page in a browser.
    direct = request.scope["known_host"] and not any(name in request.headers for name in _FORWARDED)
    if not (direct and lies_in(host, readers)):
        access.require(await access.authenticate(context, secret), Role.ADMIN)
    return Response(await exposition(context), media_type=MEDIA_TYPE)


def pages(_: Context) -> Sequence[BaseRoute]:
    """Return the page's route."""
    return _router.routes
