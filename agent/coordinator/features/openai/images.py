"""`POST /v1/images/generations`: images from text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agent.coordinator.features.client_apis.images import ImageFields, submit_images
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from aitbc.answers.fields import example
from runners.stable_diffusion.request import MAX_PROMPT_LETTERS


class ImageRequest(ImageFields):
    """A description of images to generate."""

    model_config = example(
        {
            "model": "stable-diffusion-1.5",
            "prompt": "A beautiful sunset over mountains",
            "size": "512x512",
            "n": 1,
            "response_format": "b64_json",
        }
    )

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_LETTERS)]
    moderation: Annotated[Any, Only("auto", "low")] = None
    style: Annotated[Any, Only("vivid", "natural")] = None


async def create(call: ClientCall, request: ImageRequest, key: str | None) -> AnswerSubmission:
    """Submit the job of a request. See `serving.submit`."""
    return await submit_images(call, request, key, {"prompt": request.prompt})
