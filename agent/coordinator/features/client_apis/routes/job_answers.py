"""Answers with the results of jobs."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from agent.coordinator.features.client_apis.images import GeneratedImages, ImageFields, encoded, linked
from agent.coordinator.features.client_apis.results import result
from agent.coordinator.features.client_apis.submission import AnswerSubmission, job_headers
from agent.coordinator.http.hosts import own_address


def json_answer(answer: BaseModel, *submissions: AnswerSubmission, **form: Any) -> Response:
    """Return an answer as JSON. `form` says as for `model_dump` which fields it leaves out."""
    return JSONResponse(answer.model_dump(mode="json", **form), headers=job_headers(*submissions))


async def image_answer(request: Request, submission: AnswerSubmission, fields: ImageFields) -> Response:
    """Answer with the images when all of them are generated."""
    generated = await result(submission, GeneratedImages)
    if fields.response_format == "url":
        address = own_address(submission.context.settings, request)
        return json_answer(
            await linked(submission, fields, generated, address), submission, exclude_none=True
        )
    content = await encoded(submission, fields, generated)
    return StreamingResponse(content, headers=job_headers(submission), media_type="application/json")
