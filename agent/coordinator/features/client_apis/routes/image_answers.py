"""Answers that are images."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from agent.coordinator.features.client_apis.images import GeneratedImages, ImageFields, encoded, linked
from agent.coordinator.features.client_apis.results import result
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.http.hosts import own_address
from agent.coordinator.routes._callers import disconnected


async def images(
    request: Request, submission: AnswerSubmission, form: ImageFields, headers: Mapping[str, str]
) -> Response:
    """Answer with the images and these headers when all of them are generated."""
    generated = await result(submission, GeneratedImages, disconnected(request))
    if form.response_format == "url":
        address = own_address(submission.context.settings, request)
        answer = await linked(submission, form, generated, address)
        return JSONResponse(answer.model_dump(mode="json", exclude_none=True), headers=headers)
    content = await encoded(submission, form, generated)
    return StreamingResponse(content, headers=headers, media_type="application/json")
