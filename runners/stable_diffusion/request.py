"""What an image job may ask for, what a model can do, and what follows for one run. No engine is needed for any of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from runners.api import Fail, File, InputFile, Strict, shown_as

MIN_SIDE = 64
MAX_SIDE = 2048
"""Pixels on a side of a picture; 2048 x 2048 is four times the area that the largest of these models were made for."""

SIDE_STEP = 8
"""Sides are multiples of it: a model works on cells of 8 x 8 pixels. Some need more (see `Abilities.side_step`)."""

MAX_STEPS = 150
MAX_IMAGES = 8
MAX_LORAS = 4
MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 30.0
MAX_PROMPT_LETTERS = 4000

DEFAULT_QUALITY = 90
DEFAULT_STRENGTH = 0.75
"""How much of an input picture is drawn anew, if a request says nothing. A masked region is drawn anew altogether."""

Scheduler = Literal[
    "ddim", "pndm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "dpmpp_2m_sde_karras",
    "unipc", "lcm",
]  # fmt: skip
OutputFormat = Literal["png", "jpeg", "webp"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Lora(Strict):
    """A small change of the model (low-rank adaptation) by its catalogue name. At a `scale` of 0 it does nothing."""

    name: Name
    scale: float = Field(default=1.0, ge=-2, le=2, allow_inf_nan=False)


class GenerateRequest(Strict):
    """Input of the service `image_generation`.

    `size` is "WIDTHxHEIGHT"; None is the model's own, or near the input picture's shape at the model's own area. None for
    `steps`, `guidance` or `scheduler` is what the model (or its LoRA) was made for. Image i of `num_images` has the seed
    `seed` + i and comes out the same alone; without a seed one is drawn, and the results tell it.

    With `image_url` the picture is a variation of that one, the freer the higher `strength` (0 to 1). With `mask_url` as
    well, a picture of the same size, only its white region is drawn anew and the rest stays as it is. An input picture
    that has another shape than `size` is cut at its edges. The parameters are written into each file.
    """

    model_config = shown_as(
        {
            "prompt": "A beautiful sunset over mountains",
            "model": "stable-diffusion-1.5",
            "size": "1024x1024",
            "num_images": 1,
            "steps": 20,
        }
    )

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_LETTERS)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT_LETTERS)
    model: Name = "stable-diffusion-1.5"
    size: str | None = Field(default=None, pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$", examples=["512x512"])
    num_images: int = Field(default=1, ge=1, le=MAX_IMAGES)
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    guidance: float | None = Field(default=None, ge=0, le=MAX_GUIDANCE, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    scheduler: Scheduler | None = None
    image_url: Annotated[str | None, InputFile()] = Field(default=None, min_length=1, max_length=4096)
    mask_url: Annotated[str | None, InputFile()] = Field(default=None, min_length=1, max_length=4096)
    strength: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    loras: tuple[Lora, ...] = Field(default=(), max_length=MAX_LORAS)
    output_format: OutputFormat = "png"
    quality: int | None = Field(default=None, ge=1, le=100)

    @property
    def sides(self) -> tuple[int, int] | None:
        """Width and height in pixels, None if the request leaves them open."""
        if self.size is None:
            return None
        width, _, height = self.size.partition("x")
        return int(width), int(height)

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        for side in self.sides or ():
            if not MIN_SIDE <= side <= MAX_SIDE or side % SIDE_STEP:
                raise ValueError(
                    f"size {self.size!r}: sides are multiples of {SIDE_STEP} between {MIN_SIDE} and {MAX_SIDE}"
                )
        return self

    @model_validator(mode="after")
    def _parts_belong_together(self) -> Self:
        if self.mask_url is not None and self.image_url is None:
            raise ValueError("mask_url needs image_url, the picture that is masked")
        if self.strength is not None and self.image_url is None:
            raise ValueError("strength needs image_url, the picture that is changed")
        if self.quality is not None and self.output_format == "png":
            raise ValueError("quality has no effect on png; choose jpeg or webp, or leave it out")
        names = [lora.name for lora in self.loras]
        if len(set(names)) != len(names):
            raise ValueError("loras names one twice")
        return self


class GeneratedImage(File):
    """One picture. With `seed` and the request's other values it can be made again alone."""

    seed: int
    width: int
    height: int


class GenerateResult(BaseModel):
    """Output of the service. `warnings` only if there are any, such as a prompt longer than the model reads."""

    images: list[GeneratedImage]
    warnings: list[str] | None = None


class ModelOptions(Strict):
    """What the catalogue says of a model or a LoRA under `options`: values for what a request leaves open.

    `prompt_tokens` is how much of a prompt the model's T5 encoder reads, where it has one.
    """

    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    guidance: float | None = Field(default=None, ge=0, le=MAX_GUIDANCE)
    scheduler: Scheduler | None = None
    prompt_tokens: int | None = Field(default=None, ge=1, le=512)

    def changed_by(self, other: ModelOptions) -> ModelOptions:
        """These options, with those that the other has in their place."""
        return self.model_copy(update=other.model_dump(exclude_none=True))


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a loaded model can do.

    `side` is the width and height in pixels that it was made for. `prompt_tokens` is None for models that read what CLIP
    reads. `guided` is false for one whose guidance is built in.
    """

    side: int
    side_step: int = SIDE_STEP
    negative_prompt: bool = True
    schedulers: bool = True
    guided: bool = True
    prompt_tokens: int | None = None
    steps: int = 25
    guidance: float = 7.5


@dataclass(frozen=True, slots=True)
class Generation:
    """A request with everything decided that it left open. `strength` is None where there is no input picture."""

    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    scheduler: Scheduler | None
    strength: float | None

    @property
    def steps_done(self) -> int:
        """The steps that are really done: of an input picture's, only the last ones."""
        return self.steps if self.strength is None else int(self.steps * self.strength)


def picture_size(request: Mapping[str, Any]) -> str:
    """What decides how much memory a picture takes beside the model: its size, "" for the model's own."""
    return str(request.get("size") or "")


def adapters(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The LoRA names of a request, as `ServiceDefinition.adapters` asks for them."""
    return tuple(lora["name"] for lora in parameters.get("loras") or ())


def decide(
    request: GenerateRequest,
    abilities: Abilities,
    options: ModelOptions,
    drawn_seed: int,
    picture: tuple[int, int] | None,
) -> Generation:
    """What a request means for this model; `picture` is the input picture's width and height.

    Raises `Fail` for what the model cannot do: a parameter without effect is refused, not ignored.
    """
    width, height = _sides(request, abilities, picture)
    guidance = _guidance(request, abilities, options)
    if request.scheduler is not None and not abilities.schedulers:
        raise Fail(f"The model {request.model!r} has a scheduler of its own; leave scheduler out.")
    strength = None
    if picture is not None:
        strength = _first(request.strength, 1.0 if request.mask_url else DEFAULT_STRENGTH)
    generation = Generation(
        width=width,
        height=height,
        steps=_first(request.steps, options.steps, abilities.steps),
        guidance=guidance,
        seed=_first(request.seed, drawn_seed),
        scheduler=request.scheduler or (options.scheduler if abilities.schedulers else None),
        strength=strength,
    )
    if generation.steps_done < 1:
        raise Fail(
            f"With {generation.steps} steps a strength of {strength} leaves the picture as it is; raise steps or strength."
        )
    return generation


def _first(*values: Any) -> Any:
    """The first value that is not None."""
    return next(value for value in values if value is not None)


def _guidance(request: GenerateRequest, abilities: Abilities, options: ModelOptions) -> float:
    guidance = float(_first(request.guidance, options.guidance, abilities.guidance))
    if request.guidance is not None and request.guidance > 0 and not abilities.guided:
        raise Fail(f"The guidance of {request.model!r} is built in; leave guidance out.")
    if not request.negative_prompt:
        return guidance
    if not abilities.negative_prompt:
        raise Fail(f"The model {request.model!r} reads no negative_prompt; say in the prompt what you want.")
    if guidance <= 1:
        raise Fail(
            f"At a guidance of {guidance:g} a negative_prompt has no effect; raise guidance above 1 or leave it out."
        )
    return guidance


def _sides(
    request: GenerateRequest, abilities: Abilities, picture: tuple[int, int] | None
) -> tuple[int, int]:
    step = abilities.side_step
    if request.sides is not None:
        if any(side % step for side in request.sides):
            raise Fail(f"The model {request.model!r} makes pictures whose sides are multiples of {step}.")
        return request.sides
    if picture is None:
        return abilities.side, abilities.side
    scale = abilities.side / math.sqrt(picture[0] * picture[1])
    width, height = (min(max(round(side * scale / step) * step, MIN_SIDE), MAX_SIDE) for side in picture)
    return width, height
