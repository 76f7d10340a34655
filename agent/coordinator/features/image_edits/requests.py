"""The requests that change an image, and their jobs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from agent.coordinator.features.client_apis.form import FormFile, read_form
from agent.coordinator.features.client_apis.images import ImageFields, submit_images
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from runners.stable_diffusion.request import MAX_PROMPT_LETTERS

IMAGE: Final = "image"
MASK: Final = "mask"
MISSING: Final = "send the image as a file in this field"
VARIATION: Final = "A variation of this picture"
"""The prompt of a variation: the service needs one, and OpenAI's call has none."""


class ChangeRequest(ImageFields):
    """The fields of both calls. `strength` is an extension: the share of the image that may change."""

    model_config = ConfigDict(strict=False)  # the fields of a form are text

    strength: Annotated[float, Field(gt=0, le=1)] | None = None


class EditRequest(ChangeRequest):
    """An image to change, as the prompt describes the result. With a mask, only its transparent region is drawn again."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_LETTERS)]
    input_fidelity: Annotated[Any, Only("low")] = None
    moderation: Annotated[Any, Only("auto", "low")] = None


class VariationRequest(ChangeRequest):
    """An image of which others like it are made."""


async def edit(call: ClientCall, key: str | None) -> tuple[AnswerSubmission, EditRequest]:
    """Store the files of the request's form as the caller's artifacts and submit the job. See `serving.submit`."""
    form, files = await read_form(call, EditRequest, MISSING, (IMAGE, MASK))
    inputs: dict[str, Any] = {"prompt": form.prompt}
    if MASK in files:
        inputs |= {"mask_url": files[MASK].artifact.address, "mask_region": "transparent"}
    return await _submit(call, form, key, inputs, files[IMAGE]), form


async def vary(call: ClientCall, key: str | None) -> tuple[AnswerSubmission, VariationRequest]:
    """Do the same as `edit`, for a variation."""
    form, files = await read_form(call, VariationRequest, MISSING, (IMAGE,))
    return await _submit(call, form, key, {"prompt": VARIATION}, files[IMAGE]), form


async def _submit(
    call: ClientCall, form: ChangeRequest, key: str | None, inputs: dict[str, Any], image: FormFile
) -> AnswerSubmission:
    inputs["image_url"] = image.artifact.address
    if form.strength is not None:
        inputs["strength"] = form.strength
    names = {"image_url": IMAGE, "mask_url": MASK, "mask_region": MASK}
    return await submit_images(call, form, key, inputs, names)
