"""Follows one rendering: what our script inside Blender tells, Blender's own lines, and the frames as they appear."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners._base import Context, Fail, OutputFile
from runners._blender_request import MEDIA_TYPES, SUFFIXES, RenderRequest

VIDEO_PERCENT = 97.0
"""Progress at which the frames are done where a video is still to be made of them."""

_CYCLES = re.compile(r"^Fra:.*\| (?:Rendered (\d+)/(\d+) Tiles, )?Sample (\d+)/(\d+)$")
_EEVEE = re.compile(r"^Fra:.*\| Rendering (\d+) / (\d+) samples$")


class Rendering:
    """One run of Blender. Its frames come into `scratch`, which Blender may write, and go to the context's output.

    Only there are they out of the reach of a scene that took over Blender, and can be handed over.
    """

    def __init__(self, request: RenderRequest, context: Context, max_output: int) -> None:
        self.scratch = context.work / "frames"
        self.refusal: Mapping[str, Any] | None = None
        self.complaint: str | None = None
        self.fps = 24.0
        self._request = request
        self._context = context
        self._room = max_output
        self._expected: tuple[int, ...] = ()
        self._done: dict[int, OutputFile] = {}
        self._resumed: list[int] = []
        self._warnings: list[str] = []
        self._units_per_frame = Decimal(0)
        self._layers = 1
        self._layer = 0
        self._within_layer = 0.0
        self._moved = True
        self._last_cpu = 0.0

    @property
    def opened(self) -> bool:
        """Whether Blender has read the file and our script has prepared the scene."""
        return bool(self._expected)

    @property
    def complete(self) -> bool:
        """Whether all frames are there."""
        return self.opened and len(self._done) == len(self._expected)

    @property
    def units(self) -> Decimal:
        """Megapixel-samples of the finished frames."""
        return round(self._units_per_frame * len(self._done), 6)

    @property
    def frames(self) -> list[OutputFile]:
        """The finished frames in order."""
        return [self._done[frame] for frame in self._expected if frame in self._done]

    def results(self) -> dict[str, Any]:
        """The results of a complete rendering, without its video."""
        results: dict[str, Any] = {"frames": self.frames}
        if self._resumed:
            results["resumed_frames"] = sorted(self._resumed)
        if self._warnings:
            results["warnings"] = self._warnings
        return results

    def on_message(self, message: Mapping[str, Any]) -> None:
        """Take what our script told."""
        if "scene" in message:
            self._open(message["scene"])
        elif "reused" in message:
            frame = message["reused"]
            self._resumed.append(frame)
            self._finish(frame, self._context.kept[frame_name(frame, self._request)])
        elif "saved" in message:
            frame = message["saved"]
            made = self._take(frame)
            self._finish(frame, made)
            self._context.keep(self._done[frame])
        else:
            self.refusal = message["refused"]

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

    def _open(self, scene: Mapping[str, Any]) -> None:
        self._expected = tuple(scene["frames"])
        self._layers = max(1, scene["layers"])
        self._warnings = list(scene["warnings"])
        self.fps = scene["fps"]
        self._units_per_frame = Decimal(scene["width"] * scene["height"] * scene["samples"]) / 1_000_000
        self._report()

    def _reach(self, part: float, *, begins: bool) -> None:
        """`part` of a view layer is done, of the next one if it `begins`."""
        if begins and self._within_layer > 0 and self._layer < self._layers - 1:
            self._layer += 1
            self._within_layer = 0.0
        self._within_layer = max(min(part, 1.0), self._within_layer)
        self._report()

    def _finish(self, frame: int, path: Path) -> None:
        name = frame_name(frame, self._request)
        media_type = MEDIA_TYPES[self._request.output_format]
        self._done[frame] = OutputFile(path, media_type, name, {"frame": frame})
        self._layer, self._within_layer = 0, 0.0
        self._report()

    def _take(self, frame: int) -> Path:
        """Move a finished frame to where Blender cannot reach it."""
        made = self.scratch / str(frame)
        target = self._context.output / frame_name(frame, self._request)
        made.replace(target)
        if target.is_symlink() or not target.is_file():
            target.unlink()
            raise Fail("The scene put something else where a frame should be.", code="RENDER_FAILED")
        self._room -= target.stat().st_size
        if self._room < 0:
            raise Fail("The frames are larger than this miner allows.", code="OUTPUT_TOO_LARGE")
        return target

    def _report(self) -> None:
        if not self.opened:
            self._context.progress(0.0)
            return
        begun = 0.0 if self.complete else (self._layer + self._within_layer) / self._layers
        done = len(self._done) + begun
        all_frames = VIDEO_PERCENT if self._request.video else 99.0
        units = round(self._units_per_frame * Decimal(str(done)), 6)
        self._context.progress(all_frames * done / len(self._expected), units)


def frame_name(frame: int, request: RenderRequest) -> str:
    """The name of a frame's file."""
    return f"frame_{frame:04d}.{SUFFIXES[request.output_format]}"
