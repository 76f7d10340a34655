"""Compares a tile of a rendered frame with the auditor's own: the same seed and samples give the same pixels."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from runners.api import Audited, Calibration, Comparer, Comparison, Context, Device, Strict, Tools, judge
from runners.audits import failed
from runners.blender.process import run_blender
from runners.blender.rendering import Scene, frame_name
from runners.blender.request import MEDIA_TYPES, RenderRequest, RenderResult
from runners.sandbox.watch import Limits

COMPARER: Final = Comparer(
    "Another machine renders a random part of a frame again and compares the pixels.",
    "window",
    least_limits={"pixels": 0.0001, "greatest": 0.02},
)

UNITS_TOLERANCE: Final = Decimal("1.001")

COMPARISON_SECONDS: Final = 60.0
COMPARISON_MEMORY: Final = 4 * 2**30
COMPARISON_OUTPUT: Final = 2**24

OWN: Final = "/output"
THEIRS: Final = "/checkpoints"
"""Where Blender sees the folders of the two pictures."""


@dataclass(frozen=True, slots=True)
class ChosenTile:
    """The frame to compare, its audited file, and the position of the tile as parts of the picture's free width and height."""

    frame: int
    file: Path
    tile: tuple[float, float]
    on_gpu: bool


class Measured(Strict):
    """Blender's message about two pictures, own and audited. It is untrusted, since Blender has read the audited file."""

    formats: tuple[str, str]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    mean: float | None = Field(default=None, ge=0, le=1)
    greatest: float | None = Field(default=None, ge=0, le=1)
    at: tuple[int, int] = (0, 0)


def choose(request: RenderRequest, audited: Audited) -> ChosenTile | Comparison:
    """Return a random tile of a random frame that the audited miner rendered, or the verdict if the results are not those of the request."""
    try:
        results = RenderResult.model_validate(audited.results)
    except ValidationError:
        return failed("results", "The results are not those of a rendering.")
    frames = tuple(sorted(frame.frame for frame in results.frames))
    requested = request.chosen_frames
    if (requested is None and len(frames) != 1) or requested not in (None, frames):
        return failed("frames", "The results do not contain each requested frame once.")
    for frame in results.frames:
        expected = frame_name(frame.frame, request), MEDIA_TYPES[request.output_format]
        if (frame.name, frame.media_type) != expected or frame.name not in audited.files:
            return failed(
                f"frame {frame.frame}", "The frame is not among the signed files, or in another format."
            )
    if (results.video is not None) != request.video:
        return failed("video", "The results lack the requested video, or contain one that was not requested.")
    # Another miner answers for the frames of its own run.
    rendered = [frame for frame in frames if frame not in (results.resumed_frames or ())]
    if not rendered:
        return Comparison("unproven", "Earlier runs of the job on other miners rendered all frames.")
    chance = random.Random(audited.choice)  # noqa: S311 - the choice itself is secret
    chosen = chance.choice(rendered)
    tile = chance.random(), chance.random()
    # A miner with a card renders on its processor if the request or its Blender says so.
    on_gpu = (audited.evidence or {}).get("backend") != "CPU"
    return ChosenTile(chosen, audited.files[frame_name(chosen, request)], tile, on_gpu)


def release(evidence: Mapping[str, Any]) -> str:
    """Return the precision of a calibration's condition: Blender's version and the kind of device, as the evidence states them."""
    return f"{evidence.get('version')} {evidence.get('backend')}"


def differences(
    tools: Tools, pictures: tuple[Path, Path], region: tuple[int, int, int, int], context: Context
) -> Measured | None:
    """Return how a region of two pictures differs, read by Blender in the sandbox; None if one cannot be read."""
    messages: list[str] = []
    own_picture, their_picture = pictures
    job = {
        "task": "compare",
        "pictures": [f"{OWN}/{own_picture.name}", f"{THEIRS}/{their_picture.name}"],
        "region": list(region),
    }
    limits = Limits(
        memory=min(COMPARISON_MEMORY, tools.max_memory),
        output=COMPARISON_OUTPUT + own_picture.stat().st_size,
        seconds=min(COMPARISON_SECONDS, context.timeout_seconds),
        cpu_seconds=COMPARISON_SECONDS * 2,
    )
    run_blender(
        tools,
        Device("cpu", "any"),
        job,
        limits,
        output=own_picture.parent,
        checkpoints=their_picture.parent,
        on_message=messages.append,
        on_cancel=context.on_cancel,
    )
    try:
        return Measured.model_validate(json.loads(messages[-1])["compared"])
    except (IndexError, KeyError, ValueError, TypeError, RecursionError):
        return None


def verdict(
    request: RenderRequest,
    scene: Scene,
    chosen: ChosenTile,
    measured: Measured | None,
    audited: Audited,
    calibration: Calibration | None,
) -> Comparison:
    """Return the verdict about a frame. `scene` is the auditor's, `measured` the difference of the pictures."""
    location = f"frame {chosen.frame}"
    if measured is None:
        return failed(location, "The frame cannot be read as a picture.")
    if measured.formats[0] != measured.formats[1]:
        return failed(location, f"The frame is {measured.formats[1]} instead of {measured.formats[0]}.")
    if measured.sizes[0] != measured.sizes[1] or measured.mean is None or measured.greatest is None:
        return failed(location, f"The frame has {measured.sizes[1]} pixels instead of {measured.sizes[0]}.")
    frames = len(request.chosen_frames or (0,))
    most_units = Decimal(scene.width * scene.height * scene.samples * frames) / 1_000_000
    try:
        excessive = Decimal(str(audited.predicate.get("units"))) > most_units * UNITS_TOLERANCE
    except InvalidOperation:
        excessive = True
    if excessive:
        return failed("units", f"The miner metered more than the {most_units} units of this scene.")
    distances = {"pixels": measured.mean, "greatest": measured.greatest}
    location = f"{location}, pixel {measured.at[0]},{measured.at[1]}"
    return judge(distances, calibration, where=location, of="the tile")
