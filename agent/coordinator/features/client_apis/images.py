"""Images as the answer of a request: its fields that all kinds share, and the images as base64 or links."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.results import result_file
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files.links import link_to
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.coordinator.store.artifacts import ArtifactRecord
from aitbc.answers.fields import example
from runners.stable_diffusion.request import (
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_LORAS,
    MAX_PROMPT_LETTERS,
    MAX_SEED,
    MAX_STEPS,
    GeneratedImage,
    GenerateRequest,
    GenerateResult,
    Lora,
    OutputFormat,
    Scheduler,
)

SIZE: Final = r"^(auto|[1-9]\d{1,3}x[1-9]\d{1,3})$"
NO_NAMES: Final[Mapping[str, str]] = {}
DEFAULT_MODEL: Final[str] = GenerateRequest.model_fields["model"].default


class ImageFields(JobOptions):
    """The fields that all requests for images have. A parameter without effect accepts only its neutral values.

    `negative_prompt`, `steps`, `guidance`, `seed`, `scheduler`, `loras` and job options are extensions.
    """

    model: Annotated[str, Field(max_length=200)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_IMAGES)] | None = None
    size: Annotated[str, Field(pattern=SIZE, examples=["auto", "512x512"])] | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Field(ge=1, le=100)] | None = None
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT_LETTERS)] | None = None
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    scheduler: Scheduler | None = None
    loras: Annotated[list[Lora], Field(max_length=MAX_LORAS)] | None = None
    background: Annotated[Any, Only("auto", "opaque")] = None
    partial_images: Annotated[int | None, Only(0)] = None
    # `steps` decides how carefully a model draws, and only the model knows how many are many.
    quality: Annotated[Any, Only("auto", "standard", "hd", "low", "medium", "high")] = None
    safety_identifier: Annotated[str, Field(max_length=500)] | None = None
    stream: Annotated[bool | None, Only(False)] = None
    user: Annotated[str, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _compressible(self) -> Self:
        if self.output_compression is not None and self.output_format in {None, "png"}:
            raise ValueError("output_compression has no effect on png; choose jpeg or webp, or remove it")
        return self


async def submit_images(
    call: ClientCall,
    request: ImageFields,
    key: str | None,
    inputs: Mapping[str, Any],
    names: Mapping[str, str] = NO_NAMES,
) -> AnswerSubmission:
    """Submit the job of a request. `inputs` are more of the service's fields, and `names` what the client calls them. See `serving.submit`."""
    request_fields = request.model_dump(
        mode="json",
        include={"output_format", "negative_prompt", "steps", "guidance", "seed", "scheduler", "loras"},
        exclude_none=True,
    )
    parameters = {
        **request_fields,
        **inputs,
        "model": request.model or DEFAULT_MODEL,
        "num_images": 1 if request.n is None else request.n,
        # Without a size, the service uses the one that the model was made for.
        "size": None if request.size == "auto" else request.size,
        "quality": request.output_compression,
    }
    names = {"num_images": "n", "quality": "output_compression", "adapters": "loras", **names}
    return await submit(call, services.IMAGES, parameters, request, key=key, names=names)


class GeneratedImages(GenerateResult):
    """The job's results, with at least one image."""

    images: Annotated[list[GeneratedImage], Field(min_length=1)]


class Image(BaseModel, defer_build=True):
    """An image, as base64 or a link. The same `seed` generates it again."""

    seed: int
    b64_json: str | None = None
    url: str | None = None


class Images(BaseModel, defer_build=True):
    """The images of a request; `size` is "WIDTHxHEIGHT" of each."""

    model_config = example(
        {
            "created": 1704110400,
            "output_format": "png",
            "size": "512x512",
            "data": [{"seed": 7, "b64_json": "base64_image"}],
        }
    )

    created: int
    output_format: OutputFormat
    size: str
    data: list[Image]


def _images(
    submission: AnswerSubmission, request: ImageFields, generated: GeneratedImages, data: list[Image]
) -> Images:
    size = f"{generated.images[0].width}x{generated.images[0].height}"
    return Images(
        created=submission.created, output_format=request.output_format or "png", size=size, data=data
    )


async def linked(
    submission: AnswerSubmission, request: ImageFields, generated: GeneratedImages, base: str
) -> Images:
    """Return the answer with signed links to the images. `base` is this server's address.

    Raises `AnswerInvalid` for a missing image.
    """
    data = []
    for image in generated.images:
        # A link to a file that does not exist would only fail when the client follows it.
        file = await result_file(submission, image.artifact_id)
        link = link_to(submission.context, file.artifact_id, media_type=file.media_type)
        data.append(Image(seed=image.seed, url=f"{base}{link}"))
    return _images(submission, request, generated, data)


async def encoded(
    submission: AnswerSubmission, request: ImageFields, generated: GeneratedImages
) -> AsyncIterator[bytes]:
    """Yield the answer, images included, as pieces of JSON. Its size depends on the miner, so it is never whole in memory.

    Raises `AnswerInvalid` before the first piece for a missing image.
    """
    # All files are checked first: once the answer has begun, its status can no longer say that one is missing.
    files = [await result_file(submission, image.artifact_id) for image in generated.images]
    images = list(zip(generated.images, files, strict=True))
    return _encode(submission.context, _images(submission, request, generated, []), images)


async def _encode(
    context: Context, answer: Images, images: Sequence[tuple[GeneratedImage, ArtifactRecord]]
) -> AsyncIterator[bytes]:
    # The images go between the list's brackets, and the brackets are closed at the end.
    yield answer.model_dump_json().encode().removesuffix(b"]}")
    for number, (image, file) in enumerate(images):
        yield (b"," if number else b"") + b'{"seed":%d,"b64_json":"' % image.seed
        remainder = b""
        async for piece in await context.files.blobs.read(file.name_in_store, 0, file.size):
            data = remainder + piece
            complete = len(data) - len(data) % 3  # base64 encodes three bytes at a time
            remainder = data[complete:]
            yield base64.b64encode(data[:complete])
        yield base64.b64encode(remainder) + b'"}'
    yield b"]}"
