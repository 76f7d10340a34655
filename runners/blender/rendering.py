"""Follows one rendering: what our script inside Blender tells, Blender's own lines, and the frames as they appear."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from runners.api import Context, Fail, FailureCode, OutputFile, Strict
from runners.blender.request import (
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SAMPLES,
    MEDIA_TYPES,
    SUFFIXES,
    Frame,
    RenderRequest,
)

VIDEO_PERCENT = 97.0
"""Progress at which the frames are done where a video is still to be made of them."""

_CYCLES = re.compile(r"^Fra:.*\| (?:Rendered (\d+)/(\d+) Tiles, )?Sample (\d+)/(\d+)$")
_EEVEE = re.compile(r"^Fra:.*\| Rendering (\d+) / (\d+) samples$")


class Scene(Strict):
    """What is going to be rendered. `layers` are view layers, rendered one after the other for each frame."""

    frames: tuple[Frame, ...] = Field(min_length=1, max_length=MAX_FRAMES)
    width: int = Field(ge=1, le=MAX_PIXELS)
    height: int = Field(ge=1, le=MAX_PIXELS)
    samples: int = Field(ge=1, le=MAX_SAMPLES)
    layers: int = Field(ge=0)
    fps: float = Field(gt=0, allow_inf_nan=False)
    warnings: tuple[Annotated[str, Field(max_length=4000)], ...] = Field(max_length=10)


class Refusal(Strict):
    """Why the job is not done: the input's fault, the machine's, or in the engine's own words."""

    message: str
    fault: Literal["input", "machine", "engine"]
    code: FailureCode | None


class Told(Strict):
    """One message of our script. It comes out of a process that a stranger's file may have taken over."""

    scene: Scene | None = None
    saved: Frame | None = None
    reused: Frame | None = None
    refused: Refusal | None = None


class Rendering:
    """One run of Blender. Its frames come into `scratch`, which Blender may write, and go to the context's output.

    Only there are they out of the reach of a scene that took over Blender, and can be handed over.
    """

    def __init__(self, request: RenderRequest, context: Context, max_output: int) -> None:
        self.scratch = context.work / "frames"
        self.refusal: Refusal | None = None
        self.complaint: str | None = None
        self._request = request
        self._context = context
        self._room = max_output
        self._scene: Scene | None = None
        self._done: dict[int, OutputFile] = {}
        self._resumed: list[int] = []
        self._layer = 0
        self._within_layer = 0.0
        self._moved = True
        self._last_cpu = 0.0

    @property
    def opened(self) -> bool:
        """Whether Blender has read the file and our script has prepared the scene."""
        return self._scene is not None

    @property
    def complete(self) -> bool:
        """Whether all frames are there."""
        return self._scene is not None and len(self._done) == len(self._scene.frames)

    @property
    def fps(self) -> float:
        """The scene's own rate in frames a second, as far as a video can have it."""
        return min(max(self._scene.fps, 1.0), 240.0) if self._scene is not None else 24.0

    @property
    def units(self) -> Decimal:
        """Megapixel-samples of the finished frames."""
        return self._units(len(self._done))

    @property
    def frames(self) -> list[OutputFile]:
        """The finished frames in order."""
        return [self._done[frame] for frame in sorted(self._done)]

    def results(self) -> dict[str, Any]:
        """The results of a complete rendering, without its video."""
        results: dict[str, Any] = {"frames": self.frames}
        if self._resumed:
            results["resumed_frames"] = sorted(self._resumed)
        if self._scene is not None and self._scene.warnings:
            results["warnings"] = self._scene.warnings
        return results

    def on_message(self, message: str) -> None:
        """Take what our script told. Raises `Fail` for what our script would not tell."""
        try:
            told = Told.model_validate_json(message)
        except ValidationError:
            raise _untrue() from None
        if told.scene is not None and self._scene is None:
            if self._request.chosen_frames not in (None, told.scene.frames):
                raise _untrue()
            self._scene = told.scene
            self._report()
        elif told.reused is not None:
            name = self._name(told.reused)
            if name not in self._context.checkpoints:
                raise _untrue()
            self._resumed.append(told.reused)
            self._finish(told.reused, self._copy(self._context.checkpoints[name]))
        elif told.saved is not None:
            self._finish(told.saved, self._take(told.saved))
            self._context.checkpoint(self._done[told.saved])
        else:
            self.refusal = told.refused

    def on_line(self, line: str) -> None:
        """Take a line of Blender's own."""
        self._moved = True
        if (found := _CYCLES.match(line)) is not None:
            tile, tiles, sample, samples = (int(number or 0) for number in found.groups())
            part = sample / max(1, samples)
            if tiles:  # the last sample may belong to the tile before
                part = (tile + (part if sample < samples else 0)) / tiles
            self._reach(part, begins=tile == 0 and sample == 0)
        elif (found := _EEVEE.match(line)) is not None:
            self._reach(int(found[1]) / max(1, int(found[2])), begins=found[1] == "1")
        elif line.startswith("Error: "):
            self.complaint = line.removeprefix("Error: ").strip()

    def on_tick(self, cpu_seconds: float) -> None:
        """Report progress while Blender says nothing, as long as it does something."""
        if self._moved or cpu_seconds > self._last_cpu:
            self._report()
        self._moved, self._last_cpu = False, cpu_seconds

    def _reach(self, part: float, *, begins: bool) -> None:
        """`part` of a view layer is done, of the next one if it `begins`."""
        if begins and self._within_layer > 0 and self._layer < self._layers - 1:
            self._layer += 1
            self._within_layer = 0.0
        self._within_layer = max(min(part, 1.0), self._within_layer)
        self._report()

    def _finish(self, frame: int, path: Path) -> None:
        media_type = MEDIA_TYPES[self._request.output_format]
        self._done[frame] = OutputFile(path, media_type, self._name(frame), {"frame": frame})
        self._layer, self._within_layer = 0, 0.0
        self._report()

    def _name(self, frame: int) -> str:
        """The name of a frame that is expected."""
        if self._scene is None or frame not in self._scene.frames or frame in self._done:
            raise _untrue()
        return frame_name(frame, self._request)

    def _take(self, frame: int) -> Path:
        """Move a finished frame to where Blender cannot reach it."""
        target = self._context.output / self._name(frame)
        made = self.scratch / str(frame)
        try:
            made.replace(target)
        except OSError:
            raise _untrue() from None
        if target.is_symlink() or not target.is_file():  # asked here, where it cannot be exchanged any more
            raise _untrue()
        return self._counted(target)

    def _copy(self, checkpoint: Path) -> Path:
        """Copy a frame of an earlier run to this run's outputs."""
        return self._counted(Path(shutil.copyfile(checkpoint, self._context.output / checkpoint.name)))

    def _counted(self, frame: Path) -> Path:
        self._room -= frame.stat().st_size
        if self._room < 0:
            raise Fail("The frames are larger than this miner allows.", code=FailureCode.OUTPUT_TOO_LARGE)
        return frame

    @property
    def _layers(self) -> int:
        return max(1, self._scene.layers) if self._scene is not None else 1

    def _units(self, frames: float) -> Decimal:
        if self._scene is None:
            return Decimal(0)
        samples = self._scene.width * self._scene.height * self._scene.samples
        return round(Decimal(samples) * Decimal(str(frames)) / 1_000_000, 6)

    def _report(self) -> None:
        if self._scene is None:
            self._context.progress(0.0)
            return
        begun = 0.0 if self.complete else (self._layer + self._within_layer) / self._layers
        done = len(self._done) + begun
        all_frames = VIDEO_PERCENT if self._request.video else 99.0
        self._context.progress(all_frames * done / len(self._scene.frames), self._units(done))


def _untrue() -> Fail:
    return Fail("The scene made Blender say what it does not say by itself.", code=FailureCode.RENDER_FAILED)


def frame_name(frame: int, request: RenderRequest) -> str:
    """The name of a frame's file."""
    return f"frame_{frame:04d}.{SUFFIXES[request.output_format]}"
