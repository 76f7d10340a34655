"""Follows one rendering: the messages of the script inside Blender, Blender's own output, and finished frames."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from runners.api import Context, Fail, FailureCode, OutputFile, Strict
from runners.blender.process import STATISTICS
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
"""Progress when all frames are finished and only their video remains."""

_CYCLES = re.compile(r"(?:^|\| )(?:Rendered (\d+)/(\d+) Tiles, )?Sample (\d+)/(\d+)$")
_EEVEE = re.compile(r"(?:^|\| )Rendering (\d+) / (\d+) samples$")


class Scene(Strict):
    """The frames to render. `layers` are view layers, rendered one after the other for each frame.

    `region` is the part that an audit compares: left, top, width and height in pixels. If `bordered`, only that is rendered.
    """

    frames: tuple[Frame, ...] = Field(min_length=1, max_length=MAX_FRAMES)
    width: int = Field(ge=1, le=MAX_PIXELS)
    height: int = Field(ge=1, le=MAX_PIXELS)
    samples: int = Field(ge=1, le=MAX_SAMPLES)
    layers: int = Field(ge=0)
    region: tuple[int, int, int, int] | None = None
    bordered: bool = False
    fps: float = Field(gt=0, allow_inf_nan=False)
    warnings: tuple[Annotated[str, Field(max_length=4000)], ...] = Field(max_length=10)


class Refusal(Strict):
    """Why the job is refused: a fault of the input or the machine, or the engine's own message."""

    message: str
    fault: Literal["input", "machine", "engine"]
    code: FailureCode | None


class ScriptMessage(Strict):
    """A message of the script. It is untrusted: the client's file may have taken over Blender."""

    scene: Scene | None = None
    saved: Frame | None = None
    reused: Frame | None = None
    refused: Refusal | None = None
    statistics: Annotated[str, Field(max_length=4000)] | None = None


class Rendering:
    """One run of Blender. Frames appear in `scratch`, which Blender may write, and are moved to the context's output.

    Only there are they out of reach of a scene that took over Blender, and can be handed over.
    """

    def __init__(self, request: RenderRequest, context: Context, max_output: int) -> None:
        self.scratch = context.work / "frames"
        self.refusal: Refusal | None = None
        self.complaint: str | None = None
        self._request = request
        self._context = context
        self._free = max_output
        self._scene: Scene | None = None
        self._done: dict[int, OutputFile] = {}
        self._resumed: list[int] = []
        self._layer = 0
        self._within_layer = 0.0
        self._moved = True
        self._last_cpu = 0.0

    @property
    def opened(self) -> bool:
        """Whether Blender has read the file and the script has prepared the scene."""
        return self._scene is not None

    @property
    def complete(self) -> bool:
        """Whether all frames are finished."""
        return self._scene is not None and len(self._done) == len(self._scene.frames)

    @property
    def scene(self) -> Scene:
        """The scene as Blender has described it. Only once it is `opened`."""
        if self._scene is None:
            raise ValueError("the scene has not been opened")
        return self._scene

    @property
    def fps(self) -> float:
        """The scene's own rate in frames per second, within the limits of videos."""
        # A scene may have any rate, such as one frame a minute, which no player shows.
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
        """Process a message of the script. Raises `Fail` for a message that the script cannot have sent."""
        try:
            received = ScriptMessage.model_validate_json(message)
        except ValidationError:
            raise _forged() from None
        if received.scene is not None and self._scene is None:
            # The frames determine the price.
            if self._request.chosen_frames not in (None, received.scene.frames):
                raise _forged()
            self._scene = received.scene
            for warning in received.scene.warnings:
                self._context.log(warning, "blender")
            self._report()
        elif received.reused is not None:
            name = self._name(received.reused)
            if name not in self._context.checkpoints:
                raise _forged()
            self._resumed.append(received.reused)
            self._finish(received.reused, self._copy(self._context.checkpoints[name]))
        elif received.saved is not None:
            self._finish(received.saved, self._collect(received.saved))
            self._context.checkpoint(self._done[received.saved])
        elif received.statistics is not None:
            self._follow(received.statistics)
        else:
            self.refusal = received.refused

    def on_line(self, line: str) -> None:
        """Process a line of Blender's own output."""
        self._moved = True
        if line.startswith(STATISTICS):
            self._follow(line)
        elif line.startswith("Error: "):
            self.complaint = line.removeprefix("Error: ").strip()

    def _follow(self, statistics: str) -> None:
        """Process Blender's statistics on the frame that it is rendering."""
        self._moved = True
        if (match := _CYCLES.search(statistics)) is not None:
            tile, tiles, sample, samples = (int(number or 0) for number in match.groups())
            part = sample / max(1, samples)
            if tiles:  # the last sample may belong to the previous tile
                part = (tile + (part if sample < samples else 0)) / tiles
            self._reach(part, begins=tile == 0 and sample == 0)
        elif (match := _EEVEE.search(statistics)) is not None:
            self._reach(int(match[1]) / max(1, int(match[2])), begins=match[1] == "1")

    def on_tick(self, cpu_seconds: float) -> None:
        """Report progress while Blender prints nothing but uses the processor."""
        if self._moved or cpu_seconds > self._last_cpu:
            self._report()
        self._moved, self._last_cpu = False, cpu_seconds

    def _reach(self, part: float, *, begins: bool) -> None:
        """Record that `part` of a view layer is finished, of the next layer if it `begins`."""
        # Blender does not name the layer, but begins its count again.
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
        """Return the file name of an expected frame."""
        if self._scene is None or frame not in self._scene.frames or frame in self._done:
            raise _forged()
        return frame_name(frame, self._request)

    def _collect(self, frame: int) -> Path:
        """Move a finished frame to where Blender cannot reach it."""
        target = self._context.output / self._name(frame)
        picture = self.scratch / str(frame)
        try:
            picture.replace(target)
        except OSError:
            raise _forged() from None
        # Checked here, where Blender can no longer exchange it.
        if target.is_symlink() or not target.is_file():
            raise _forged()
        return self._counted(target)

    def _copy(self, checkpoint: Path) -> Path:
        """Copy a frame of an earlier run to this run's outputs."""
        return self._counted(Path(shutil.copyfile(checkpoint, self._context.output / checkpoint.name)))

    def _counted(self, frame: Path) -> Path:
        self._free -= frame.stat().st_size
        if self._free < 0:
            raise Fail(
                "The frames are larger than this miner allows; render fewer or smaller frames.",
                code=FailureCode.OUTPUT_TOO_LARGE,
            )
        return frame

    @property
    def _layers(self) -> int:
        return max(1, self._scene.layers) if self._scene is not None else 1

    def _units(self, frames: float) -> Decimal:
        if self._scene is None:
            return Decimal(0)
        width, height = self._scene.width, self._scene.height
        if self._scene.bordered and self._scene.region is not None:
            width, height = self._scene.region[2:]
        samples = width * height * self._scene.samples
        return round(Decimal(samples) * Decimal(str(frames)) / 1_000_000, 6)

    def _report(self) -> None:
        if self._scene is None:
            self._context.progress(0.0)
            return
        # With all frames finished, the next one would be counted as begun.
        begun = 0.0 if self.complete else (self._layer + self._within_layer) / self._layers
        rendered = len(self._done) + begun
        all_frames = VIDEO_PERCENT if self._request.video else 99.0
        self._context.progress(all_frames * rendered / len(self._scene.frames), self._units(rendered))


def _forged() -> Fail:
    return Fail(
        "The scene made Blender send a message that it cannot send by itself.", code=FailureCode.RENDER_FAILED
    )


def frame_name(frame: int, request: RenderRequest) -> str:
    """Return the file name of a frame."""
    return f"frame_{frame:04d}.{SUFFIXES[request.output_format]}"
