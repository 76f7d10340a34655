"""Tests a card's encoders and decoders with FFmpeg as jobs use it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from agent.miner.machine.gpus import Gpu
from agent.miner.machine.selftest_report import Check
from runners.api import Device, RunnerError, Tools
from runners.ffmpeg.card import INPUT
from runners.ffmpeg.encoders import HARDWARE, hardware_works, listed
from runners.ffmpeg.process import GLOBAL_OPTIONS
from runners.sandbox import Sandbox, run_limits
from runners.sandbox.watch import Ended, usual_processes

SECONDS: Final = 60.0
"""Time limit of one run of FFmpeg."""
FRAMES: Final = 250
_SOURCE: Final = ("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=10")
_CLIP: Final = "clip.mp4"


def checks(tools: Tools, gpu: Gpu, device: Device) -> Iterator[Check]:
    """Yield whether the card encodes and decodes, and how fast. Blocking."""
    try:
        encoders = [name for name in HARDWARE.values() if name in listed(tools)]
    except RunnerError as error:
        message = f"Video was not tested. {error}"
        yield Check(name="encoding", outcome="skipped", message=message, card=gpu.uuid)
        return
    working = [name for name in encoders if hardware_works(tools, name, device)]
    with tempfile.TemporaryDirectory(prefix="aitbc-selftest-") as directory:
        yield _encoding(tools, gpu, device, working, Path(directory))
        yield _decoding(tools, gpu, device, Path(directory))


def _encoding(tools: Tools, gpu: Gpu, device: Device, working: list[str], directory: Path) -> Check:
    check = partial(Check, name="encoding", card=gpu.uuid)
    if not working:
        return check(
            outcome="warning",
            message="NVENC encodes no picture, so videos are encoded on the processor.",
            remedy="Cards for data centers (A100, H100, H200) have no encoder. On others, install the driver's video libraries (Debian: libnvidia-encode1), or in a container add the capability video.",
        )
    encoder = working[0]
    seconds, failure = _run(
        tools, device, directory, *_SOURCE, "-pix_fmt", "yuv420p", "-c:v", encoder, f"/clip/{_CLIP}"
    )
    if failure is not None:
        message = f"{encoder} encodes one picture, but no video: {failure}"
        return check(outcome="fault", message=message, remedy="See aitbc-agent doctor.")
    message = f"NVENC encodes {FRAMES / seconds:.0f} pictures of 720p in a second ({', '.join(working)})."
    return check(outcome="ok", message=message, figures={"encoded": FRAMES / seconds})


def _decoding(tools: Tools, gpu: Gpu, device: Device, directory: Path) -> Check:
    check = partial(Check, name="decoding", card=gpu.uuid)
    if not (directory / _CLIP).exists():
        encoder = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")
        _, failure = _run(tools, device, directory, *_SOURCE, *encoder, f"/clip/{_CLIP}")
        if failure is not None:
            return check(outcome="skipped", message=f"There was no video to decode: {failure}")
    options = [word for name, value in INPUT.items() for word in (f"-{name}", value)]
    seconds, failure = _run(tools, device, directory, *options, "-i", f"/clip/{_CLIP}", "-f", "null", "-")
    if failure is not None:
        return check(
            outcome="warning",
            message=f"NVDEC decodes no video, so videos are decoded on the processor: {failure}",
            remedy="Install the driver's video libraries (Debian: libnvcuvid1), or in a container add the capability video.",
        )
    message = f"NVDEC decodes {FRAMES / seconds:.0f} pictures of 720p in a second."
    return check(outcome="ok", message=message, figures={"decoded": FRAMES / seconds})


def _run(tools: Tools, device: Device, directory: Path, *words: str) -> tuple[float, str | None]:
    """Run FFmpeg with /clip as its directory. Return how long it took, and why it failed."""
    limits = run_limits(
        tools, SECONDS, cpu_seconds=SECONDS * max(1, device.threads), processes=usual_processes()
    )
    sandbox = Sandbox(tools, limits, device)
    began = time.monotonic()
    try:
        program = sandbox.program(tools.ffmpeg)
        inside = sandbox.write(directory, "/clip")
        line = [word.replace("/clip", inside, 1) if word.startswith("/clip") else word for word in words]
        outcome = sandbox.run([program, *GLOBAL_OPTIONS, *line])
    except RunnerError as error:
        return 0.0, str(error)
    seconds = max(time.monotonic() - began, 1e-3)
    if outcome.ended is not Ended.EXITED:
        return seconds, f"FFmpeg was ended ({outcome.ended})."
    if outcome.exit_code != 0:
        return seconds, outcome.stderr.strip()[-200:] or f"FFmpeg ended with status {outcome.exit_code}."
    return seconds, None
