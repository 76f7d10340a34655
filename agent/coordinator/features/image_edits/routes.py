"""The paths of OpenAI's API that change images (docs/reference/openai.md)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from agent.coordinator.features.client_apis.form import form_body
from agent.coordinator.features.client_apis.images import Images
from agent.coordinator.features.client_apis.routes.declared import Call, answers
from agent.coordinator.features.client_apis.routes.job_answers import image_answer
from agent.coordinator.features.image_edits import requests
from agent.coordinator.features.image_edits.requests import IMAGE, MASK
from agent.coordinator.routes._callers import IdempotencyKey

router = APIRouter(prefix="/v1/images", tags=["OpenAI-compatible"])


@router.post(
    "/edits",
    summary="Change an image",
    response_model=Images,
    responses=answers("The images"),
    openapi_extra=form_body(requests.EditRequest, (IMAGE,), MASK),
)
async def image_edits(call: Call, request: Request, key: IdempotencyKey = None) -> Response:
    """The files become artifacts of the caller. Answers when all images are generated."""
    return await image_answer(request, *await requests.edit(call, key))


@router.post(
    "/variations",
    summary="Make variations of an image",
    response_model=Images,
    responses=answers("The images"),
    openapi_extra=form_body(requests.VariationRequest, (IMAGE,)),
)
async def image_variations(call: Call, request: Request, key: IdempotencyKey = None) -> Response:
    """Same as an edit, without a prompt and a mask."""
    return await image_answer(request, *await requests.vary(call, key))
