"""The rows of the audits' benchmark for videos, pictures, renderings and Python models.

The limits are those that `aitbc-agent calibrate` would derive from the honest runs of the same table.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from agent.miner.honest_limits import honest_limit
from measuring.audits.audited import Checked, pictures, python_models, rendering, video
from runners.api import Model
from runners.registry import installed

TESTS = Path(__file__).parents[3] / "tests"

CLIPS = {
    "simple": "testsrc2=size=426x240:rate=25",
    "detailed": "mandelbrot=size=426x240:rate=25:end_scale=0.02",
    "noisy": "testsrc2=size=426x240:rate=25,noise=alls=25:allf=t",
}
"""Sources of ffmpeg: one is easy to encode, one has fine detail, one hardly can be encoded."""

SECONDS = 8
NOISE = 0.02
"""Relative size of the noise in another model's weights."""


def rows(folder: Path) -> Iterable[Checked]:
    """Yield one row for each audit."""
    for name, source in CLIPS.items():
        clip = make_clip(source, SECONDS, folder / f"{name}.mkv")
        checked = [*video(folder, clip), *video(folder, clip, bitrate="500k")]
        yield from (replace(one, case=f"{one.case} ({name})") for one in judged(checked))
    yield from judged(list(pictures(folder, *demo_models(folder))))
    yield from judged(list(rendering(folder)))
    yield from python_models(folder)


def make_clip(source: str, seconds: int, path: Path) -> Path:
    """Write a video with sound: what a source of FFmpeg's `lavfi` shows, nearly without loss."""
    sound = "sine=frequency=300:beep_factor=4"
    inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", sound, "-t", str(seconds)]
    picture = ["-c:v", "libx264", "-crf", "10", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *inputs, *picture, "-c:a", "flac", path]
    subprocess.run(command, check=True)
    return path


def judged(checked: Sequence[Checked]) -> Iterator[Checked]:
    """Yield the audits of one service with the verdicts that the limits of their honest ones give."""
    comparer = installed()[checked[0].service].definition.comparer
    assert comparer is not None
    honest = [one.distances for one in checked if one.honest and one.distances]
    limits = {
        name: honest_limit(
            [found[name] for found in honest if name in found], comparer.least_limits.get(name, 0)
        )
        for name in {name for found in honest for name in found}
    }
    for one in checked:
        if one.verdict != "unproven" or not one.distances:
            yield one
            continue
        above = [name for name, distance in one.distances.items() if distance > limits[name]]
        yield replace(one, verdict="fail" if above else "pass")


def demo_models(folder: Path) -> tuple[Model, Model]:
    """Return the demo's diffusion model, and one whose denoiser's weights have some noise."""
    import diffusers  # noqa: PLC0415 - engines are optional
    import torch  # noqa: PLC0415 - as above

    sys.path.append(str(TESTS))
    from support.inputs.diffusion import NAME, make_untrained  # noqa: PLC0415 - the tests' models

    usual, other = make_untrained(folder / "usual"), folder / "other"
    shutil.copytree(usual, other)
    denoiser = diffusers.UNet2DConditionModel.from_pretrained(other / "unet")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weights in denoiser.parameters():
            weights.mul_(1 + NOISE * torch.randn_like(weights))
    denoiser.save_pretrained(other / "unet")
    return Model(NAME, usual), Model("other", other)
