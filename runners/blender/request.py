"""The request and the result of a rendering job."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from runners.api import File, InputFile, Strict, WrongField, shown_as

MAX_FRAMES = 1000
"""Frames of one job; split a longer animation into several jobs, which several miners can render at once."""

LAST_FRAME = 1_048_574
"""Blender's own limit."""

SIDE = (16, 16384)
"""Smallest and largest width and height in pixels."""

MAX_PIXELS = 8192 * 8192

MAX_SAMPLES = 65_536
"""Samples of one pixel, requested or set in the file."""

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "exr": "image/x-exr"}
SUFFIXES = {"png": "png", "jpeg": "jpg", "exr": "exr"}

FRAME_FILES = {rf"frame_\d{{4,7}}\.{SUFFIXES[form]}": MEDIA_TYPES[form] for form in SUFFIXES}
"""Regular expressions of the frames' file names, with the media type of each."""

_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7}))?")
_TEXT_LIMIT = 10_000


def _frames(value: Any) -> Any:
    """Return the frames of "1,5,9-12" sorted and unique; pydantic validates values that are not text."""
    if isinstance(value, (list, tuple)):
        return tuple(sorted(set(value))) if all(type(item) is int for item in value) else value
    if not isinstance(value, str):
        return value
    chosen: set[int] = set()
    for part in value[:_TEXT_LIMIT].replace(" ", "").split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:20]!r} is neither a frame nor a range such as '1-48'")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {part!r} runs backwards")
        if last - first >= MAX_FRAMES:
            raise ValueError(f"more than {MAX_FRAMES} frames; split them into several jobs")
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))


Frame = Annotated[int, Field(ge=0, le=LAST_FRAME)]
Side = Annotated[int, Field(ge=SIDE[0], le=SIDE[1])]


class RenderRequest(Strict):
    """Input of the service `blender_rendering`. Omitted settings keep the file's values.

    `frame` is one frame, `frames` several: "1-48", "1,5,9-12", or a list; with neither, the file's current frame is rendered.
    `samples` is the number of samples per pixel. Cycles ends a pixel earlier, for the same price, once its noise is below `noise_threshold`.
    `camera` and `scene` are names in the file. `color_depth` is bits
    per channel: 8 or 16 in a PNG, 16 or 32 in an EXR. `video` adds an MP4 of the frames, at `fps` frames per second.
    The whole picture is rendered even if the file has a render region; stereo scenes are rendered in one view.
    """

    model_config = shown_as(
        {
            "blend_file_url": "https://example.com/scene.blend",
            "engine": "cycles",
            "resolution_x": 1920,
            "resolution_y": 1080,
            "samples": 128,
        }
    )

    blend_file_url: Annotated[str, InputFile()] = Field(min_length=1, max_length=4096)
    engine: Literal["cycles", "eevee"] | None = None
    frame: Frame | None = None
    frames: Annotated[
        tuple[Frame, ...] | None, BeforeValidator(_frames, json_schema_input_type=str | list[int] | None)
    ] = Field(default=None, min_length=1, max_length=MAX_FRAMES, examples=["1-48"])
    resolution_x: Side | None = None
    resolution_y: Side | None = None
    samples: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    output_format: Literal["png", "jpeg", "exr"] = "png"
    color_depth: Literal[8, 16, 32] | None = Field(default=None, description="Default: 8, in an EXR 16.")
    quality: int = Field(default=90, ge=1, le=100, description="For JPEG only.")
    camera: str | None = Field(default=None, min_length=1, max_length=255)
    scene: str | None = Field(default=None, min_length=1, max_length=255)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    transparent: bool | None = None
    denoise: bool | None = None
    noise_threshold: float | None = Field(
        default=None, ge=0, le=1, description="For Cycles only; 0 renders all samples of every pixel."
    )
    device: Literal["auto", "cpu", "gpu"] = "auto"
    video: bool = False
    fps: float | None = Field(default=None, ge=1, le=240, allow_inf_nan=False)

    @property
    def chosen_frames(self) -> tuple[int, ...] | None:
        """The requested frames, in order."""
        return self.frames if self.frame is None else (self.frame,)

    @property
    def depth(self) -> int:
        """Bits per channel."""
        return self.color_depth or (16 if self.output_format == "exr" else 8)

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        if self.frame is not None and self.frames is not None:
            raise WrongField("frames", "give frame or frames, not both")
        if self.video and len(self.chosen_frames or ()) < 2:  # noqa: PLR2004 - one picture is not a video
            raise WrongField("frames", "a video needs several frames; name them in frames")
        if self.fps is not None and not self.video:
            raise WrongField("fps", "fps has no effect without video")
        return self

    @model_validator(mode="after")
    def _engine_fits(self) -> Self:
        if self.engine == "eevee" and self.device == "cpu":
            raise WrongField("device", "EEVEE runs only on a GPU; choose engine cycles or another device")
        cycles_fields = {
            "seed": self.seed,
            "denoise": self.denoise or None,
            "noise_threshold": self.noise_threshold,
        }
        refused = [name for name, value in cycles_fields.items() if value is not None]
        if self.engine == "eevee" and refused:
            raise WrongField(refused[0], f"{refused[0]} is supported only by cycles")
        return self

    @model_validator(mode="after")
    def _picture_fits(self) -> Self:
        fitting = {"png": (8, 16), "jpeg": (8,), "exr": (16, 32)}[self.output_format]
        if self.depth not in fitting:
            raise WrongField(
                "color_depth",
                f"{self.output_format} does not support color_depth {self.depth}; use {' or '.join(map(str, fitting))}",
            )
        if self.transparent and self.output_format == "jpeg":
            raise WrongField("transparent", "a JPEG cannot be transparent; choose png or exr")
        if self.video and self.output_format == "exr":
            raise WrongField("video", "a video is made of png or jpeg frames")
        if (self.resolution_x or 0) * (self.resolution_y or 0) > MAX_PIXELS:
            raise WrongField("resolution_x", f"a picture has at most {MAX_PIXELS} pixels")
        return self


class RenderedFrame(File):
    """A picture and its frame number."""

    frame: int


class RenderResult(BaseModel, defer_build=True):
    """Output of the service.

    `resumed_frames` are frames of an earlier run of the job, often on another miner: the signer attests
    that it received them, not that it rendered them. `warnings` state why the pictures may differ from those of the client's
    own Blender.
    """

    frames: list[RenderedFrame]
    video: File | None = None
    resumed_frames: list[int] | None = None
    warnings: list[str] | None = None
