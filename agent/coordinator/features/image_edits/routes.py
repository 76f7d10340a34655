"""The paths of OpenAI's API that change images (docs/reference/openai.md)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from agent.coordinator.features.client_apis.form import form_schema
from agent.coordinator.features.client_apis.images import Images
from agent.coordinator.features.client_apis.routes import image_answers
from agent.coordinator.features.client_apis.routes.declared import answers
from agent.coordinator.features.client_apis.routes.streaming import job_headers
from agent.coordinator.features.image_edits import requests
from agent.coordinator.features.image_edits.requests import IMAGE, MASK
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey

router = APIRouter(prefix="/v1/images", tags=["OpenAI-compatible"])


def _form(model: type[BaseModel], *optional: str) -> dict[str, Any]:
    schema = form_schema(model, (IMAGE,), optional)
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post(
    "/edits",
    summary="Change an image",
    response_model=Images,
    responses=answers("The images"),
    openapi_extra=_form(requests.EditRequest, MASK),
)
async def image_edits(
    context: ContextOf, caller: Client, request: Request, key: IdempotencyKey = None
) -> Response:
    """The files become artifacts of the caller. Answers when all images are generated."""
    content_type = request.headers.get("content-type")
    submission, form = await requests.edit(context, caller, content_type, request.stream(), key)
    return await image_answers.images(request, submission, form, job_headers(submission))


@router.post(
    "/variations",
    summary="Make variations of an image",
    response_model=Images,
    responses=answers("The images"),
    openapi_extra=_form(requests.VariationRequest),
)
async def image_variations(
    context: ContextOf, caller: Client, request: Request, key: IdempotencyKey = None
) -> Response:
    """Same as an edit, without a prompt and a mask."""
    content_type = request.headers.get("content-type")
    submission, form = await requests.vary(context, caller, content_type, request.stream(), key)
    return await image_answers.images(request, submission, form, job_headers(submission))
