"""The checks of `gpu_check.py` with pictures that a card decodes, encodes or renders."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gpu_check_child import find
from gpu_check_report import CHECKS, Failed, Machine, NotChecked, Part
from gpu_check_runner import measured

FRAMES: Final = 300
SIMILAR: Final = 35.0
"""Decibels (PSNR) from which two scalers' pictures are the same to the eye."""

FFMPEG_SECONDS: Final = 120.0
ON_CARD: Final = ("-hwaccel", "cuda", "-hwaccel_output_format", "cuda")

NO_ENCODER: Final = ("No capable devices found", "unsupported device", "Codec not supported")
"""FFmpeg's words for a card that cannot encode at all (H100, A100), or not this codec."""


@CHECKS.add("video is decoded on the card", "card", Part.LANGUAGE_AND_VIDEO, 15, programs=("ffmpeg",))
def _decode(machine: Machine) -> str:
    """The card decodes and scales a clip, and the pictures are those of the processor."""
    clip = _clip(machine)
    on_card, here = machine.directory / "card.nut", machine.directory / "processor.nut"
    lossless = ("-c:v", "ffv1")
    began = time.monotonic()
    _ffmpeg(
        machine,
        *ON_CARD,
        "-i",
        str(clip),
        "-vf",
        "scale_cuda=640:360,hwdownload,format=nv12",
        *lossless,
        str(on_card),
    )
    speed = FRAMES / (time.monotonic() - began)
    _ffmpeg(machine, "-i", str(clip), "-vf", "scale=640:360:flags=bicubic,format=nv12", *lossless, str(here))
    compared = _ffmpeg(
        machine, "-v", "info", "-i", str(on_card), "-i", str(here), "-lavfi", "psnr", "-f", "null", "-"
    )
    found = re.search(r"average:(inf|[\d.]+)", compared)
    if found is None or float(found[1]) < SIMILAR:
        raise Failed(f"the pictures of card and processor differ: PSNR {found[1] if found else 'unknown'} dB")
    return f"{speed:.0f} fps from 720p to 360p, PSNR {found[1]} dB"


def _encode(codec: str) -> Callable[[Machine], str]:
    def check(machine: Machine) -> str:
        """One clip through the runner on the card's encoder."""
        hardware = "required" if machine.device.kind == "cuda" else "auto"
        with measured("video_transcoding", machine) as (child, benchmark):
            child.load(None)
            request = {**benchmark.parameters, "codec": codec, "hardware": hardware}
            done = child.run(request, benchmark.files)
        if done.results["codec"] != codec:
            raise Failed(f"the output has the codec {done.results['codec']}")
        return f"{float(benchmark.scale * done.units) / done.processing_time:.0f} fps at 720p"

    return check


for _codec in ("h264", "hevc", "av1"):
    CHECKS.add(f"nvenc {_codec}", "device", Part.LANGUAGE_AND_VIDEO, 20, programs=("ffmpeg",))(
        _encode(_codec)
    )


@CHECKS.add("video stays on the card", "card", Part.LANGUAGE_AND_VIDEO, 15, programs=("ffmpeg",))
def _on_card(machine: Machine) -> str:
    """The card decodes, scales and encodes, and no picture travels to main memory: what the runner tries first."""
    clip, scaled = _clip(machine), machine.directory / "scaled.mp4"
    began = time.monotonic()
    _ffmpeg(
        machine, *ON_CARD, "-i", str(clip), "-vf", "scale_cuda=640:360", "-c:v", "h264_nvenc", str(scaled)
    )
    return f"{FRAMES / (time.monotonic() - began):.0f} fps from 720p to 360p"


def _clip(machine: Machine) -> Path:
    """Return a clip of 10 seconds, made by the processor."""
    clip = machine.directory / "clip.mp4"
    source = ("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30:duration=10", "-pix_fmt", "yuv420p")
    _ffmpeg(machine, *source, "-c:v", "libx264", "-preset", "ultrafast", str(clip))
    return clip


def _ffmpeg(machine: Machine, *words: str) -> str:
    """Run ffmpeg, and return what it reported."""
    done = subprocess.run(
        [machine.tools.ffmpeg, "-v", "error", "-nostdin", "-y", *words],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": machine.device.uuid or ""},
        capture_output=True,
        text=True,
        timeout=FFMPEG_SECONDS,
        check=False,
    )
    if any(phrase in done.stderr for phrase in NO_ENCODER):
        raise NotChecked(f"this card does not encode video ({done.stderr.strip().splitlines()[0][-100:]})")
    if done.returncode != 0:
        raise Failed(done.stderr.strip()[:300])
    return done.stderr


@CHECKS.add("blender", "device", Part.LONG, 60)
def _blender(machine: Machine) -> str:
    """Cycles on OptiX or CUDA, if this build of Blender supports either; Debian's does not."""
    devices = find("blender_rendering").probe(machine.tools).features.get("devices", [])
    with measured("blender_rendering", machine) as (child, benchmark):
        child.load(None)
        device = "gpu" if machine.device.kind == "cuda" else "cpu"
        done = child.run({**benchmark.parameters, "device": device}, benchmark.files)
    speed = float(done.units) / done.processing_time
    return f"{speed:.3g} megapixel-sample/s; this build has {', '.join(devices)}"
