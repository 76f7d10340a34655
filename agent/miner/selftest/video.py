"""Tests a card's encoders and decoders with FFmpeg as jobs use it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
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
_SOURCE: Final = "testsrc2=size=1280x720:rate=25:duration=10"
_CLIP: Final = "clip.mp4"


def checks(tools: Tools, gpu: Gpu, device: Device) -> Iterator[Check]:
    """Yield whether the card encodes and decodes, and how fast. Blocking."""
    try:
        encoders = [name for name in HARDWARE.values() if name in listed(tools)]
    except RunnerError as error:
        yield Check(
            name="encoding", outcome="skipped", message=f"Video was not tested. {error}", card=gpu.uuid
        )
        return
    working = [name for name in encoders if hardware_works(tools, name, device)]
    with tempfile.TemporaryDirectory(prefix="aitbc-selftest-") as directory:
        yield from _encoding(tools, gpu, device, working, Path(directory))
        yield from _decoding(tools, gpu, device, Path(directory))


def _encoding(tools: Tools, gpu: Gpu, device: Device, working: list[str], directory: Path) -> Iterator[Check]:
    if not working:
        yield Check(
            name="encoding",
            outcome="warning",
            message="NVENC encodes no picture, so videos are encoded on the processor.",
            remedy="Cards for data centers (A100, H100, H200) have no encoder. On others, install the driver's video libraries (Debian: libnvidia-encode1), or in a container add the capability video.",
            card=gpu.uuid,
        )
        return
    encoder = working[0]
    seconds, failure = _run(
        tools, device, directory, "-f", "lavfi", "-i", _SOURCE, "-pix_fmt", "yuv420p", "-c:v", encoder, f"/clip/{_CLIP}"
    )  # fmt: skip
    if failure is not None:
        yield Check(
            name="encoding", outcome="fault", message=f"{encoder} encodes one picture, but no video: {failure}",
            remedy="See aitbc-agent doctor.", card=gpu.uuid,
        )  # fmt: skip
        return
    yield Check(
        name="encoding",
        outcome="ok",
        message=f"NVENC encodes {FRAMES / seconds:.0f} pictures of 720p in a second ({', '.join(working)}).",
        card=gpu.uuid,
        figures={"encoded": FRAMES / seconds},
    )


def _decoding(tools: Tools, gpu: Gpu, device: Device, directory: Path) -> Iterator[Check]:
    if not (directory / _CLIP).exists():
        _, failure = _run(
            tools, device, directory, "-f", "lavfi", "-i", _SOURCE, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", f"/clip/{_CLIP}"
        )  # fmt: skip
        if failure is not None:
            yield Check(
                name="decoding",
                outcome="skipped",
                message=f"There was no video to decode: {failure}",
                card=gpu.uuid,
            )
            return
    options = [word for name, value in INPUT.items() for word in (f"-{name}", value)]
    seconds, failure = _run(tools, device, directory, *options, "-i", f"/clip/{_CLIP}", "-f", "null", "-")
    if failure is not None:
        yield Check(
            name="decoding",
            outcome="warning",
            message=f"NVDEC decodes no video, so videos are decoded on the processor: {failure}",
            remedy="Install the driver's video libraries (Debian: libnvcuvid1), or in a container add the capability video.",
            card=gpu.uuid,
        )
        return
    yield Check(
        name="decoding",
        outcome="ok",
        message=f"NVDEC decodes {FRAMES / seconds:.0f} pictures of 720p in a second.",
        card=gpu.uuid,
        figures={"decoded": FRAMES / seconds},
    )


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
