"""The request of an image job, the abilities of a model, and the resulting parameters of a run, without an engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from runners.api import Fail, File, InputFile, Since, Strict, WrongField, shown_as

MIN_SIDE = 64
MAX_SIDE = 2048
"""Pixels per side of a picture; 2048 x 2048 is four times the training area of the largest of these models."""

SIDE_STEP = 8
"""Sides are multiples of this: models work on cells of 8 x 8 pixels. Some need more (see `Abilities.side_step`)."""

MAX_STEPS = 150
MAX_IMAGES = 8
MAX_LORAS = 4
MAX_SEED = 2**32 - 1
MAX_GUIDANCE = 30.0
MAX_PROMPT_LETTERS = 4000

DEFAULT_QUALITY = 90
DEFAULT_STRENGTH = 0.75
"""The default share of an input picture that is redrawn. A masked region is redrawn entirely."""

Scheduler = Literal[
    "ddim", "pndm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde", "dpmpp_2m_sde_karras",
    "unipc", "lcm",
]  # fmt: skip
OutputFormat = Literal["png", "jpeg", "webp"]
Region = Literal["white", "transparent"]
"""What marks the region of a mask that is redrawn."""

Attention = Literal["native", "cudnn", "flash", "flash_3", "sage"]
Precision = Literal["bfloat16", "float16", "float32"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["sdxl"])]
Cache = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
"""The threshold of first-block caching: the relative change of the first block's output below which a step reuses the
other blocks' previous output. Larger values are faster and change the picture more; 0.1 is moderate."""


class Lora(Strict):
    """A low-rank adaptation of the model, by its catalogue name. A `scale` of 0 has no effect."""

    name: Name
    scale: float = Field(default=1.0, ge=-2, le=2, allow_inf_nan=False)


class Control(Strict):
    """A ControlNet of the model, by its catalogue name. At a larger `scale` pictures follow the control picture more closely."""

    name: Name
    scale: float = Field(default=1.0, gt=0, le=2, allow_inf_nan=False)


class GenerateRequest(Strict):
    """Input of the service `image_generation`.

    `size` is "WIDTHxHEIGHT"; the default is the model's own, or about the input picture's shape at the model's own area. The
    defaults of `steps`, `guidance` and `scheduler` are those of the model or its LoRA. Image i of `num_images` has the seed
    `seed` + i and is the same if generated alone. Without a seed a random one is used, and the results contain it.

    With `image_url` the picture is a variation of the input picture; a higher `strength` (0 to 1) allows larger changes. Models
    that edit by instruction, such as FLUX.2, have no strength. With `mask_url`, a picture of the same size, only its white region
    is redrawn; with `mask_region` "transparent", its transparent one. An input picture with another shape than `size` is cropped.

    With `control`, pictures from text follow the structure of the picture at `control_url`: edges, depth or a pose, whichever the
    ControlNet was made for.

    `cache` (above 0, at most 1) skips the work of steps that change little: faster, with slightly different pictures. Not every
    model supports it. The parameters are written into each file and into the results, which the receipt signs.
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
    mask_region: Annotated[Region, Since("0.3")] = "white"
    strength: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    loras: tuple[Lora, ...] = Field(default=(), max_length=MAX_LORAS)
    control: Control | None = None
    control_url: Annotated[str | None, InputFile()] = Field(default=None, min_length=1, max_length=4096)
    cache: Cache | None = None
    output_format: OutputFormat = "png"
    quality: int | None = Field(default=None, ge=1, le=100)

    @property
    def sides(self) -> tuple[int, int] | None:
        """Requested width and height in pixels, None without a size."""
        if self.size is None:
            return None
        width, _, height = self.size.partition("x")
        return int(width), int(height)

    @field_validator("size")
    @classmethod
    def _size_fits(cls, value: str | None) -> str | None:
        for side in map(int, () if value is None else value.split("x")):
            if not MIN_SIDE <= side <= MAX_SIDE or side % SIDE_STEP:
                raise ValueError(
                    f"sides are multiples of {SIDE_STEP} between {MIN_SIDE} and {MAX_SIDE}, unlike those of {value!r}"
                )
        return value

    @model_validator(mode="after")
    def _parts_belong_together(self) -> Self:
        if self.mask_url is not None and self.image_url is None:
            raise WrongField("image_url", "mask_url requires image_url, the picture that is masked")
        if self.mask_region != "white" and self.mask_url is None:
            raise WrongField("mask_url", "mask_region requires mask_url, the mask that it is about")
        if self.strength is not None and self.image_url is None:
            raise WrongField("image_url", "strength requires image_url, the picture that is changed")
        if (self.control is None) != (self.control_url is None):
            raise WrongField(
                "control.name" if self.control is None else "control_url",
                "control and control_url belong together: the ControlNet and the picture to follow",
            )
        if self.control is not None and self.image_url is not None:
            raise WrongField("control_url", "control cannot be combined with image_url; omit one of them")
        if self.quality is not None and self.output_format == "png":
            raise WrongField("quality", "quality has no effect on png; choose jpeg or webp, or omit it")
        names = [lora.name for lora in self.loras]
        if len(set(names)) != len(names):
            raise WrongField("loras", "loras contains a name twice")
        return self


class GeneratedImage(File):
    """One picture. `seed` and the request's other values reproduce it."""

    seed: int
    width: int
    height: int


class GenerationSettings(BaseModel, defer_build=True):
    """Everything besides the prompt, the seed and the size that determines the pictures, with all defaults applied.

    `precision` is the number type of the computation. `quantization` is "none" or the form of the denoiser's weights: "fp8", "nf4",
    "gguf-" and the type of most weights (such as "gguf-Q4_K"), or the method of a repository that is published quantised.
    `attention` is the implementation of attention, `compiled` whether the denoiser's blocks were compiled; both change pictures as
    little as another kind of card does.
    """

    steps: int
    guidance: float
    scheduler: str
    strength: float | None = None
    precision: Precision
    quantization: str
    cache: float | None = None
    attention: Attention = "native"
    compiled: bool = False


class GenerateResult(BaseModel, defer_build=True):
    """Output of the service. `warnings` is present only if there are any, such as a prompt that is too long for the model.

    Agents before version 0.3 of the runner do not report `settings`.
    """

    images: list[GeneratedImage]
    settings: GenerationSettings | None = None
    warnings: list[str] | None = None


class ModelOptions(Strict):
    """The catalogue's `options` of a model or a LoRA: defaults for requests, and how the model is loaded.

    `prompt_tokens` is the number of tokens that the model's encoder reads, where that is not CLIP's 77. `quantization` reduces the
    weights when they are loaded: "fp8" stores the denoiser's weights in 8 bits, "nf4" (bitsandbytes, only on CUDA) stores the
    denoiser's and the large text encoders' in 4. A GGUF file in the model's directory needs no option. `attention` and `compile`
    (only on CUDA; compilation needs a C compiler) make transformers faster.
    """

    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    guidance: float | None = Field(default=None, ge=0, le=MAX_GUIDANCE)
    scheduler: Scheduler | None = None
    prompt_tokens: int | None = Field(default=None, ge=1, le=1024)
    cache: Cache | None = None
    quantization: Literal["fp8", "nf4"] | None = None
    attention: Attention | None = None
    compile: bool | None = None

    def changed_by(self, overrides: ModelOptions) -> ModelOptions:
        """Return these options, overridden by those that `overrides` sets."""
        return self.model_copy(update=overrides.model_dump(exclude_none=True))


@dataclass(frozen=True, slots=True)
class Abilities:
    """The abilities of a loaded model, and its defaults."""

    side: int
    """The native width and height in pixels."""
    side_step: int = SIDE_STEP
    """Pixels of which sides must be multiples."""
    negative_prompt: bool = True
    schedulers: bool = True
    """Whether another scheduler than the model's own can be chosen."""
    guided: bool = True
    """False for a model with built-in guidance."""
    prompt_tokens: int | None = None
    """None for models with CLIP's limit."""
    steps: int = 50
    guidance: float = 7.5
    variations: bool = True
    """Whether it makes pictures from pictures."""
    strength: bool = True
    """Whether the amount of change can be chosen."""
    inpainting: bool = True
    """Whether a mask can be given."""
    caching: bool = False
    """Whether steps can reuse the results of others."""


@dataclass(frozen=True, slots=True)
class ImageGeneration:
    """The parameters of a run, with all defaults applied. `strength` is None without an input picture or a choice of it."""

    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    scheduler: Scheduler | None
    strength: float | None
    cache: float | None = None

    @property
    def steps_done(self) -> int:
        """The number of performed steps: with an input picture only the last ones."""
        return self.steps if self.strength is None else int(self.steps * self.strength)


def picture_size(request: Mapping[str, Any]) -> str:
    """Return the part of a request that determines its memory in addition to the model's: the size, "" for the default."""
    return str(request.get("size") or "")


def adapters(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a request's LoRAs and ControlNet. See `ServiceDefinition.adapters`."""
    control = parameters.get("control")
    return tuple(
        adapter["name"] for adapter in (*(parameters.get("loras") or ()), *([control] if control else ()))
    )


def decide(
    request: GenerateRequest,
    abilities: Abilities,
    options: ModelOptions,
    drawn_seed: int,
    picture: tuple[int, int] | None,
) -> ImageGeneration:
    """Return a run's parameters for this model; `picture` is the input picture's width and height.

    Raises `Fail` for a parameter that the model does not support, instead of ignoring it.
    """
    width, height = _sides(request, abilities, picture)
    guidance = _guidance(request, abilities, options)
    if request.scheduler is not None and not abilities.schedulers:
        raise Fail(f"The model {request.model!r} has its own scheduler; omit scheduler.")
    _check_supported(request, abilities)
    strength = None
    if picture is not None and abilities.strength:
        strength = _first(request.strength, 1.0 if request.mask_url else DEFAULT_STRENGTH)
    generation = ImageGeneration(
        width=width,
        height=height,
        steps=_first(request.steps, options.steps, abilities.steps),
        guidance=guidance,
        seed=_first(request.seed, drawn_seed),
        scheduler=request.scheduler or (options.scheduler if abilities.schedulers else None),
        strength=strength,
        cache=_first(request.cache, options.cache, 0.0) or None if abilities.caching else None,
    )
    if generation.steps_done < 1:
        raise Fail(
            f"With {generation.steps} steps a strength of {strength} does not change the picture; raise steps or strength."
        )
    return generation


def _check_supported(request: GenerateRequest, abilities: Abilities) -> None:
    """Raise `Fail` for an input or parameter that this family of models does not have."""
    unsupported = {
        "image_url": request.image_url is not None and not abilities.variations,
        "mask_url": request.mask_url is not None and not abilities.inpainting,
        "strength": request.strength is not None and not abilities.strength,
        "cache": request.cache is not None and not abilities.caching,
    }
    for field, requested in unsupported.items():
        if requested:
            raise Fail(
                f"The model {request.model!r} does not support {field}; omit it or choose another model."
            )


def _first(*values: Any) -> Any:
    """The first value that is not None."""
    return next(value for value in values if value is not None)


def _guidance(request: GenerateRequest, abilities: Abilities, options: ModelOptions) -> float:
    guidance = float(_first(request.guidance, options.guidance, abilities.guidance))
    if request.guidance is not None and request.guidance > 0 and not abilities.guided:
        raise Fail(f"The guidance of {request.model!r} is built in; omit guidance.")
    if not request.negative_prompt:
        return guidance
    if not abilities.negative_prompt:
        raise Fail(
            f"The model {request.model!r} does not support negative_prompt; describe the picture in prompt."
        )
    if guidance <= 1:
        raise Fail(
            f"At a guidance of {guidance:g} a negative_prompt has no effect; raise guidance above 1 or omit negative_prompt."
        )
    return guidance


def _sides(
    request: GenerateRequest, abilities: Abilities, picture: tuple[int, int] | None
) -> tuple[int, int]:
    step = abilities.side_step
    if request.sides is not None:
        if any(side % step for side in request.sides):
            raise Fail(
                f"The model {request.model!r} requires sides that are multiples of {step}; change size."
            )
        return request.sides
    if picture is None:
        return abilities.side, abilities.side
    # As many pixels as the model was trained for, in the shape of the picture: more give repeated motifs, fewer a blur.
    scale = abilities.side / math.sqrt(picture[0] * picture[1])
    width, height = (min(max(round(side * scale / step) * step, MIN_SIDE), MAX_SIDE) for side in picture)
    return width, height
