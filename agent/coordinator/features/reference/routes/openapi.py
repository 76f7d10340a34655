"""`/v1/openapi.json`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from agent.coordinator.features.reference.routes.document import document

router = APIRouter()


async def _describe(request: Request) -> Response:
    app = request.app
    app.openapi_schema = app.openapi_schema or document(app.state.routers)
    return JSONResponse(app.openapi_schema)


# Not one of the calls that it describes.
router.add_route("/v1/openapi.json", _describe)
