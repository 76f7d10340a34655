"""Texts for synthetic voices, and speech as samples."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

SENTENCE = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday."
)

STORY = (
    "The market opened before sunrise, and the first boats had already returned. Baskets of fish stood along the wall, and "
    "women counted coins by the light of a lamp. A boy with a red scarf sold bread from a wooden cart. Nobody noticed the old "
    "teacher who sat on the steps and wrote into a small book. He had come every day for eleven years. Later in the morning "
    "the buyers came down from the town. They walked between the tables without a word and pointed at what they wanted. Some "
    "argued about the price, but most of them paid and carried their bags to the waiting trucks. When the rain began, the "
    "sellers covered everything with heavy cloth. Two dogs hid under the cart and slept. By noon all the fish was sold, and "
    "the street was wet and empty. The teacher closed his book, thanked the boy for the bread, and went home along the river. "
    "In the evening he read aloud what he had written, and his daughter laughed at the part about the dogs."
)
"""About a minute. No sentence occurs twice, since Whisper takes a text that repeats itself for an error."""


def read_samples(recording: Path) -> Any:
    """Return a recording as float32 samples at Whisper's rate, with one channel."""
    import numpy as np  # noqa: PLC0415 - the sentence is also needed where NumPy is not

    command = [
        "sox",
        "-G",
        str(recording),
        "-r",
        "16000",
        "-c",
        "1",
        "-b",
        "16",
        "-e",
        "signed",
        "-t",
        "raw",
        "-",
    ]
    raw = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    return np.frombuffer(raw, dtype=np.int16).astype(np.float32) / 32768


def similarity(transcribed: str, spoken: str) -> float:
    """Return the word accuracy: 1 minus the words to replace, insert or remove, per spoken word."""
    words, expected = (re.findall(r"[a-z']+", text.lower()) for text in (transcribed, spoken))
    distances = list(range(len(expected) + 1))
    for number, word in enumerate(words, 1):
        diagonal, distances[0] = distances[0], number
        for position, other in enumerate(expected, 1):
            changed = diagonal + (word != other)
            diagonal = distances[position]
            distances[position] = min(changed, diagonal + 1, distances[position - 1] + 1)
    return 1 - distances[-1] / len(expected)
