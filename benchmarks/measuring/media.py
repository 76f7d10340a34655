"""Video and rendering: our path in front of ffmpeg and Blender, compared with each program alone on the same work.

Ours is the miner's real executor with the runner's child process, the inspection of input and output, and the sandbox. Alone is the
program with the same options, started by itself. Each comparison has a row for the elapsed time, and one for the processor time of all processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil

from agent.miner.executor.local import LocalExecutor
from agent.miner.settings import MinerSettings
from measuring.row import Row, order
from runners.api import Device, Tools
from runners.blender import BlenderRunner
from runners.blender.engine import chosen, is_python
from runners.host.protocol import Run

THREADS = os.cpu_count() or 1
DEVICE = Device("cpu", "processor", threads=THREADS)
FPS = 30
LIMIT_SECONDS = 600.0

SCRIPT = """
import json, sys
import bpy
scene, target, frames, width, height, samples, threads = json.loads(sys.argv[-1])
bpy.ops.wm.open_mainfile(filepath=scene)
scene = bpy.context.scene
render = scene.render
render.engine, render.resolution_percentage, render.threads_mode, render.threads = "CYCLES", 100, "FIXED", threads
render.resolution_x, render.resolution_y, scene.cycles.samples = width, height, samples
scene.cycles.use_denoising, render.use_persistent_data = False, len(frames) > 1
for frame in frames:
    scene.frame_set(frame)
    render.filepath = f"{target}/{frame}.png"
    bpy.ops.render.render(write_still=True)
"""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Elapsed and processor seconds of some work."""

    elapsed: float
    processor: float


_Work = Callable[[], Awaitable[_Cost]]


class _Path:
    """Our path: runs jobs of one service as a miner does."""

    def __init__(self, service: str, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._numbers = count()
        settings = MinerSettings()
        self._executor = LocalExecutor((DEVICE,), Tools(cache_dir=folder / "cache"), settings, folder)

    async def run(self, parameters: Mapping[str, object], files: Mapping[str, Path]) -> _Cost:
        """Perform a job in directories of its own."""
        directory = self._folder / f"{self._service}-{next(self._numbers)}"
        output, work = directory / "output", directory / "work"
        output.mkdir(parents=True)
        work.mkdir()
        message = Run(
            run_id=directory.name, parameters=dict(parameters), files=dict(files), output=output, work=work,
            timeout_seconds=LIMIT_SECONDS,
        )  # fmt: skip
        before, began = self._processor_seconds(), time.monotonic()
        await self._executor.run(self._service, None, message)
        return _Cost(time.monotonic() - began, self._processor_seconds() - before)

    async def close(self) -> None:
        await self._executor.close()

    def _processor_seconds(self) -> float:
        """Return the processor time of this process, the child, and the programs that the child has started."""
        total = time.process_time()
        for child in self._executor.status():
            times = psutil.Process(child["pid"]).cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return total


async def _alone(command: Sequence[str | Path]) -> _Cost:
    """Run a program by itself."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - nothing else runs
    _, status, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} ended with status {process.returncode}.")
    return _Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime)


async def _compared(name: str, amount: float, unit: str, rounds: int, ours: _Work, alone: _Work) -> list[Row]:
    """Return the rows of one comparison, for an amount of work in a unit such as "frame"."""
    await ours()  # to start the child
    costs: tuple[list[_Cost], list[_Cost]] = ([], [])
    for number in range(rounds):
        for way in order(number, 2):
            costs[way].append(await (ours, alone)[way]())
    elapsed = [[amount / cost.elapsed for cost in side] for side in costs]
    processor = [[amount / cost.processor for cost in side] for side in costs]
    return [
        Row(name, *elapsed, f"{unit}/s"),
        Row(f"{name}, processor time", *processor, f"{unit}/processor second", required=False),
    ]


def video(folder: Path, rounds: int) -> list[Row]:
    """Compare transcoding to H.264: in one piece, in chunks, and in two passes to a bitrate."""
    return asyncio.run(_video(folder, rounds))


async def _video(folder: Path, rounds: int) -> list[Row]:
    rows: list[Row] = []
    path = _Path("video_transcoding", folder)
    rates = ("-preset", "medium", "-pix_fmt", "yuv420p")
    try:
        for name, size, seconds, request, options in (
            ("ffmpeg, h264", "1280x720", 15, {}, [("-crf", "23")]),
            ("ffmpeg, h264 in chunks", "1280x720", 60, {}, [("-crf", "23")]),
            ("ffmpeg, h264 to a bitrate", "1280x720", 30, {"bitrate": "2M"}, [
                ("-b:v", "2M", "-pass", "1", "-f", "null"), ("-b:v", "2M", "-pass", "2"),
            ]),
        ):  # fmt: skip
            clip = _clip(folder, size, seconds)
            log = ("-passlogfile", folder / "pass")
            target = folder / "alone.mp4"
            commands = [
                ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", str(THREADS), "-i", clip, "-an", "-c:v", "libx264",
                 "-threads", str(THREADS), *rates, *log, *each, os.devnull if "null" in each else target]
                for each in options
            ]  # fmt: skip
            parameters = {"input_url": "artifact:clip", "codec": "h264", "audio_codec": "none", **request}

            async def ours(parameters: Mapping[str, object] = parameters, clip: Path = clip) -> _Cost:
                return await path.run(parameters, {"input_url": clip})

            async def alone(commands: Sequence[Sequence[str | Path]] = commands) -> _Cost:
                costs = [await _alone(command) for command in commands]
                return _Cost(sum(cost.elapsed for cost in costs), sum(cost.processor for cost in costs))

            rows += await _compared(name, seconds * FPS, "frame", rounds, ours, alone)
    finally:
        await path.close()
    return rows


def _clip(folder: Path, size: str, seconds: int) -> Path:
    """Make a video that is cheap to decode, so that the encoder dominates."""
    clip = folder / f"clip-{size}-{seconds}.mkv"
    source = f"testsrc2=size={size}:rate={FPS}:duration={seconds}"
    codec = ("-c:v", "mpeg4", "-q:v", "4", "-pix_fmt", "yuv420p")
    command: list[str | Path] = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *codec, clip]
    subprocess.run(command, check=True, timeout=LIMIT_SECONDS)
    return clip


def rendering(folder: Path, rounds: int) -> list[Row]:
    """Compare rendering Blender's default scene with Cycles: one picture, and an animation."""
    return asyncio.run(_rendering(folder, rounds))


async def _rendering(folder: Path, rounds: int) -> list[Row]:
    rows: list[Row] = []
    tools = Tools(cache_dir=folder / "cache")
    benchmark = BlenderRunner.benchmark(tools, folder)
    assert benchmark is not None
    scene = benchmark.files["blend_file_url"]
    engine = chosen(tools)
    script = folder / "render.py"
    script.write_text(SCRIPT, encoding="utf-8")
    target = folder / "alone"
    target.mkdir()
    path = _Path("blender_rendering", folder)
    try:
        for name, frames, width, height, samples in (
            ("Blender, one picture", [1], 640, 360, 64),
            ("Blender, eight frames", list(range(1, 9)), 240, 135, 32),
        ):
            job = json.dumps([str(scene), str(target), frames, width, height, samples, THREADS])
            options = ["-I"] if is_python(engine) else ["-b", "--factory-startup", "-P"]
            command = [engine, *options, str(script), "--", "--cycles-device", "CPU", job]
            parameters = {
                **benchmark.parameters, "frames": frames, "resolution_x": width, "resolution_y": height, "samples": samples,
            }  # fmt: skip

            async def ours(parameters: Mapping[str, object] = parameters) -> _Cost:
                return await path.run(parameters, {"blend_file_url": scene})

            async def alone(command: Sequence[str] = command) -> _Cost:
                return await _alone(command)

            amount = len(frames) * width * height * samples / 1e6
            rows += await _compared(name, amount, "megapixel-sample", rounds, ours, alone)
    finally:
        await path.close()
    return rows
