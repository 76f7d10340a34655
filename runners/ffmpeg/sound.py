"""How far the sound of two windows agrees: its loudness, and its shape below one kilohertz."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import mul
from pathlib import Path
from typing import Final

from runners.api import Context, Device, Tools
from runners.ffmpeg.process import INPUT, input_words, job_sandbox, run_ffmpeg

RATE: Final = 2000
"""Samples per second of the compared sound; lossy codecs keep what is below half of it."""

LAG_SECONDS: Final = 0.15
"""How far two sounds may be apart: encoders add silence at the beginning."""

SILENCE: Final = 33.0
"""Root mean square of 16-bit samples that counts as silence (-60 dB)."""


def decode(
    tools: Tools,
    device: Device,
    file: Path,
    window: tuple[float, float],
    context: Context,
    name: str,
    *,
    rate: int = RATE,
) -> Sequence[int]:
    """Return the 16-bit samples of a window (first second, seconds) of the first sound track, mixed to one channel with `rate` samples per second."""
    scratch = context.work / name
    scratch.mkdir()
    sandbox = job_sandbox(tools, device, context)
    first, seconds = window
    path, target = sandbox.read(file, INPUT), f"{sandbox.write(scratch, '/sound')}/samples"
    form = ["-map", "a:0", "-ac", "1", "-ar", str(rate), "-f", "s16le", target]
    cut = ["-ss", f"{max(0.0, first):.6f}", "-t", f"{seconds:.6f}"]
    run_ffmpeg(sandbox, [*cut, *input_words(), "-i", path, *form], context)
    samples = array("h")
    samples_file = scratch / "samples"
    if samples_file.is_symlink() or not samples_file.is_file():
        return samples
    with samples_file.open("rb") as opened:
        content = opened.read(2 * int(rate * (seconds + 1)))
    samples.frombytes(content[: len(content) // 2 * 2])
    return samples


def distances(own_samples: Sequence[int], their_samples: Sequence[int]) -> dict[str, float]:
    """Return the difference in loudness in decibels, and 1 minus the greatest correlation of two sounds."""
    loud = max(_loudness(own_samples), SILENCE), max(_loudness(their_samples), SILENCE)
    difference = abs(20 * math.log10(loud[0] / loud[1]))
    if max(loud) == SILENCE:
        return {"loudness": difference, "sound": 0.0}
    return {"loudness": difference, "sound": 1 - _correlation(own_samples, their_samples)}


def _loudness(samples: Sequence[int]) -> float:
    """Return the root mean square."""
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples)) if samples else 0.0


def _correlation(own_samples: Sequence[int], their_samples: Sequence[int]) -> float:
    lag = int(RATE * LAG_SECONDS)
    best = 0.0
    # Encoders begin with different amounts of silence.
    for shift in range(-lag, lag + 1):
        own_part, their_part = own_samples[max(0, shift) :], their_samples[max(0, -shift) :]
        length = min(len(own_part), len(their_part))
        # A few samples correlate by chance.
        if length < RATE // 4:
            continue
        own_part, their_part = own_part[:length], their_part[:length]
        energy = math.sqrt(sum(map(mul, own_part, own_part)) * sum(map(mul, their_part, their_part)))
        best = max(best, sum(map(mul, own_part, their_part)) / energy if energy else 0.0)
    return best
