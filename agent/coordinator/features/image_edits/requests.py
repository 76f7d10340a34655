"""The requests that change an image, and their jobs."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from agent.coordinator.features.client_apis.form import read_files
from agent.coordinator.features.client_apis.images import ImageFields, submit_images
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import artifacts
from agent.coordinator.operations.jobs.addresses import ARTIFACT_SCHEME
from agent.core.errors import ValidationFailed
from aitbc.answers.files import Artifact
from runners.stable_diffusion.request import MAX_PROMPT_LETTERS
from runners.validation_errors import field_errors

IMAGE: Final = "image"
MASK: Final = "mask"
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


FormT = TypeVar("FormT", bound=ChangeRequest)


async def edit(
    context: Context, caller: Caller, content_type: str | None, chunks: AsyncIterable[bytes], key: str | None
) -> tuple[AnswerSubmission, EditRequest]:
    """Store the files of a form as the caller's artifacts and submit the job. See `serving.submit`."""
    form, files = await _read(context, caller, content_type, chunks, EditRequest, (IMAGE, MASK))
    inputs: dict[str, Any] = {"prompt": form.prompt}
    if MASK in files:
        inputs |= {"mask_url": _address(files[MASK]), "mask_region": "transparent"}
    return await _submit(context, caller, form, key, inputs, files), form


async def vary(
    context: Context, caller: Caller, content_type: str | None, chunks: AsyncIterable[bytes], key: str | None
) -> tuple[AnswerSubmission, VariationRequest]:
    """Do the same as `edit`, for a variation."""
    form, files = await _read(context, caller, content_type, chunks, VariationRequest, (IMAGE,))
    return await _submit(context, caller, form, key, {"prompt": VARIATION}, files), form


async def _read(
    context: Context,
    caller: Caller,
    content_type: str | None,
    chunks: AsyncIterable[bytes],
    form: type[FormT],
    names: tuple[str, ...],
) -> tuple[FormT, Mapping[str, Artifact]]:
    async def store(name: str, media_type: str, content: AsyncIterable[bytes]) -> Artifact:
        return await artifacts.save(context, caller, media_type, content, file_name=name)

    # The fields may follow the files, so the files are stored before they can be checked.
    fields, files = await read_files(chunks, content_type, store, names)
    try:
        request = form.model_validate(fields)
    except ValidationError as error:
        raise ValidationFailed("The request is not valid.", field_errors(error, model=form)) from None
    if IMAGE not in files:
        raise ValidationFailed("The request is not valid.", {IMAGE: "send the image as a file in this field"})
    return request, files


async def _submit(
    context: Context,
    caller: Caller,
    form: ChangeRequest,
    key: str | None,
    inputs: Mapping[str, Any],
    files: Mapping[str, Artifact],
) -> AnswerSubmission:
    parameters = {**inputs, "image_url": _address(files[IMAGE])}
    if form.strength is not None:
        parameters["strength"] = form.strength
    names = {"image_url": IMAGE, "mask_url": MASK, "mask_region": MASK}
    return await submit_images(context, caller, form, key, parameters, names)


def _address(artifact: Artifact) -> str:
    return f"{ARTIFACT_SCHEME}{artifact.artifact_id}"
