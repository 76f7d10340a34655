"""What an audit costs beside the job, in processor time of one run, with that of sandboxed programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from measuring.audits.audited import Bench, adopt_orphans
from measuring.audits.media import demo_models
from measuring.child import models_directory
from runners.api import Device, Model, Runner, Tools

MINUTES = 3
"""Length of the recording and of the video, in minutes: an audit compares a minute of one, and five seconds of the other."""


class Cost(NamedTuple):
    """Processor seconds of a job and of its audit."""

    service: str
    words: str
    job: float
    audit: float


def measure(folder: Path) -> Iterator[Cost]:
    """Yield a row for each service with media."""
    adopt_orphans()
    tools, device = (
        Tools(cache_dir=folder / "cache", models_dir=models_directory()),
        Device("cpu", "CPU", threads=1),
    )
    yield _speech(folder, tools, device)
    yield _pictures(folder, tools, device)
    yield _video(folder, tools, device)
    yield _rendering(folder, tools, device)


def table(costs: Iterator[Cost]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| service | job | job, processor seconds | audit, processor seconds | audit / job |"
    yield "|---|---|---|---|---|"
    for cost in costs:
        print(*cost, file=sys.stderr, flush=True)
        yield f"| `{cost.service}` | {cost.words} | {cost.job:.1f} | {cost.audit:.1f} | {cost.audit / cost.job:.0%} |"


def _cost(runner: Runner[Any], folder: Path, words: str, files: Mapping[str, Path], **fields: Any) -> Cost:
    bench = Bench(runner, folder, files)
    request, result, job = bench.run(**fields)
    checked = bench.audit("", request, result, job, honest=True)
    return Cost(runner.definition.service_id, words, job, checked.audit)


def _speech(folder: Path, tools: Tools, device: Device) -> Cost:
    from runners.whisper import WhisperRunner  # noqa: PLC0415 - one service at a time

    speech, long = WhisperRunner.calibration(tools, folder)[0].files["audio_url"], folder / "long.wav"
    _ffmpeg("-stream_loop", "-1", "-i", speech, "-t", MINUTES * 60, long)
    runner = WhisperRunner(tools, device)
    runner.load(Model("tiny.en", models_directory() / "tiny.en", engines=("faster-whisper",)))
    words = f"{MINUTES} minutes of speech, tiny.en in 8 bits"
    return _cost(
        runner, folder, words, {"audio_url": long}, audio_url="artifact:a", model="tiny.en", language="en"
    )


def _pictures(folder: Path, tools: Tools, device: Device) -> Cost:
    from runners.stable_diffusion import StableDiffusionRunner  # noqa: PLC0415 - one service at a time

    model, _ = demo_models(folder)
    runner = StableDiffusionRunner(tools, device)
    runner.load(model)
    fields = {
        "prompt": "a lighthouse",
        "model": model.name,
        "size": "128x128",
        "steps": 20,
        "num_images": 2,
        "seed": 7,
    }
    return _cost(runner, folder, "2 pictures of 128x128, 20 steps", {}, **fields)


def _video(folder: Path, tools: Tools, device: Device) -> Cost:
    from runners.ffmpeg import FFmpegRunner  # noqa: PLC0415 - one service at a time

    clip = folder / "long.mkv"
    inputs = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine=frequency=300")
    _ffmpeg(
        *inputs,
        "-t",
        MINUTES * 60,
        "-c:v",
        "libx264",
        "-crf",
        "12",
        "-preset",
        "ultrafast",
        "-c:a",
        "flac",
        clip,
    )
    words = f"{MINUTES} minutes of 640x360 to h264"
    runner = FFmpegRunner(tools, device)
    return _cost(runner, folder, words, {"input_url": clip}, input_url="artifact:clip", codec="h264")


def _rendering(folder: Path, tools: Tools, device: Device) -> Cost:
    from runners.blender import BlenderRunner  # noqa: PLC0415 - one service at a time

    benchmark = BlenderRunner.benchmark(tools, folder)
    assert benchmark is not None
    fields = {**benchmark.parameters, "samples": 32, "resolution_x": 640, "resolution_y": 360, "seed": 3}
    words = "a picture of 640x360, 32 samples"
    return _cost(BlenderRunner(tools, device), folder, words, benchmark.files, **fields)


def _ffmpeg(*options: Any) -> None:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, options)]
    subprocess.run(command, check=True)
