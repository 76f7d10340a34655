"""How alike two recordings of the same text are: the voice, the words, the pace.

Voices draw a little noise for each run, so that no two recordings are equal. What stays is the shape of the spectrum over time, which is compared
frame by frame, after the frames of both are aligned (dynamic time warping).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runners.speech.base import Samples

RATE: Final = 16_000
"""Samples per second of the compared sounds."""

WINDOW: Final = 512
STEP: Final = 320
"""Samples of a frame, and between the beginnings of two."""

BANDS: Final = 40
LOWEST: Final = 80.0
HIGHEST: Final = 7600.0
"""The bands of the mel scale, and their range in hertz."""

FLOOR_DECIBELS: Final = 50.0
"""What is quieter than the loudest frame by more than this counts as silence."""

SLACK: Final = 0.25
"""How far the alignment may stray from a constant pace, as a share of the length."""


def distances(own_samples: Samples, their_samples: Samples) -> dict[str, float]:
    """Return how far apart two sounds at `RATE` are.

    `pace` is the logarithm of the ratio of their durations, `spectrum` the mean difference of aligned frames in decibels.
    """
    if not len(own_samples) or not len(their_samples):
        return {"pace": math.inf, "spectrum": math.inf}
    pace = abs(math.log(len(own_samples) / len(their_samples)))
    return {"pace": pace, "spectrum": _aligned(_frames(own_samples), _frames(their_samples))}


def _frames(samples: Samples) -> Samples:
    """Return the spectrum of each frame in `BANDS` bands, in decibels, where 0 is the sound's loudest frame."""
    import numpy as np  # noqa: PLC0415 - the coordinator imports the runner without its engine

    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    framed = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    power = np.abs(np.fft.rfft(framed * np.hanning(WINDOW), axis=1)) ** 2
    decibels = 10 * np.log10(power @ np.array(_filters()).T + 1e-10)
    loudest = decibels.mean(axis=1).max()
    frames: Samples = np.maximum(decibels - loudest, -FLOOR_DECIBELS).astype(np.float32)
    return frames


def _filters() -> list[list[float]]:
    """Return the weights of the spectrum's lines in each band: triangles that are evenly spaced on the mel scale."""
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    mels = [lowest + (highest - lowest) * number / (BANDS + 1) for number in range(BANDS + 2)]
    corners = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
    lines = [number * RATE / WINDOW for number in range(WINDOW // 2 + 1)]
    return [
        [max(0.0, min((line - low) / (middle - low), (high - line) / (high - middle))) for line in lines]
        for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False)
    ]


def _aligned(own_frames: Samples, their_frames: Samples) -> float:
    """Return the mean difference of the frames on the cheapest path that keeps both in order."""
    own_count, their_count = len(own_frames), len(their_frames)
    reach = math.ceil(SLACK * max(own_count, their_count)) + 2
    nowhere = (math.inf, 0)
    # Cost and length of the cheapest path to each frame of theirs, for one frame of ours after the other.
    paths = [(0.0, 0), *[nowhere] * their_count]
    for number, frame in enumerate(own_frames):
        centre = number * their_count // own_count
        first, last = max(0, centre - reach), min(their_count, centre + reach + 1)
        differences = abs(their_frames[first:last] - frame).mean(axis=1).tolist()
        next_paths = [nowhere] * (their_count + 1)
        for position, difference in enumerate(differences, start=first + 1):
            cost, length = min(paths[position - 1], paths[position], next_paths[position - 1])
            next_paths[position] = (cost + difference, length + 1)
        paths = next_paths
    cost, length = paths[-1]
    return cost / length if length else math.inf
