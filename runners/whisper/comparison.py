"""How far two transcripts of the same speech are apart: words and times.

The words are aligned by the fewest insertions, deletions and substitutions. A packaged edit distance cannot leave out the words at the
borders of a window, which the other transcript has on its own side.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

WINDOW = 60.0
"""Seconds of sound that an audit transcribes again."""

MARGIN = 5.0
"""Seconds on each side of the window whose words the audited transcript may have inside it: the engines set times differently."""

BORDER = 2
"""Words at each border of the window that may be cut in two."""

LEAST_WORDS = 8
"""Words below which a word error rate says nothing."""

MOST_WORDS = 2000
"""Words of a window that are compared: more than anybody speaks in a minute."""

MOST_SECONDS = 30.0
"""Greatest difference in time of one word that counts."""

Span = tuple[float, float]
"""The beginning and the end of a part of the sound, in seconds."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word, and when it is spoken, in seconds from the beginning."""

    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TranscriptDistance:
    """What two transcripts differ by."""

    wrong: int
    """Words that are missing, additional or others."""
    expected: int
    """Words of the auditor's transcript."""
    apart: tuple[float, ...]
    """How far apart the right words are, in seconds."""
    words: int
    """Words of the longer of the two transcripts."""
    first_wrong: str
    """Where the first wrong word is, as a phrase; empty without one."""

    @property
    def errors(self) -> float:
        """The share of wrong words."""
        return round(min(1.0, self.wrong / max(1, self.expected)), 6)

    @property
    def seconds(self) -> float:
        """The mean difference in time."""
        return round(sum(self.apart) / len(self.apart), 3) if self.apart else 0.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the sound, in seconds. What lies beyond an open side was transcribed too, but is not compared."""

    start: float
    end: float
    open_start: bool
    open_end: bool

    def without(self, spans: Sequence[Span]) -> list[Stretch]:
        """Return what remains without these spans, which are in order."""
        remaining, start, is_open = list[Stretch](), self.start, self.open_start
        for first, last in spans:
            if first > start:
                remaining.append(Stretch(start, min(first, self.end), is_open, open_end=True))
            start, is_open = max(start, last), True
        if start < self.end:
            remaining.append(Stretch(start, self.end, is_open, self.open_end))
        return remaining


def chosen_window(choice: str, duration: float) -> Span:
    """Return the window that an audit transcribes, in seconds. It follows from `choice`, which the audited miner did not know."""
    if duration <= WINDOW:
        return 0.0, duration
    # A random minute costs the same for an hour as for two minutes, and any minute may be the one.
    start = random.Random(choice).uniform(0, duration - WINDOW)  # noqa: S311 - the seed is the secret
    return start, start + WINDOW


def timed_words(segments: Sequence[Mapping[str, Any]]) -> list[SpokenWord]:
    """Return the words of segments, in lower case without punctuation. Within a segment their times are spread evenly."""
    timed = []
    for segment in segments:
        words = _WORD.findall(str(segment["text"]).lower())
        start, end = float(segment["start"]), float(segment["end"])
        # Not all engines report the times of words.
        step = (end - start) / max(1, len(words))
        timed += [SpokenWord(word, start + (number + 0.5) * step) for number, word in enumerate(words)]
    return timed


def same_words(text: str, segments: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a transcript's text consists of the words of its segments."""
    return _WORD.findall(text.lower()) == [
        word for segment in segments for word in _WORD.findall(segment["text"].lower())
    ]


def within(words: Sequence[SpokenWord], stretch: Stretch, margin: float = 0.0) -> list[SpokenWord]:
    """Return the words that are spoken in a stretch, or at most `margin` seconds from it; on a side that is not open, all words beyond it too."""
    start = stretch.start - margin if stretch.open_start else -math.inf
    end = stretch.end + margin if stretch.open_end else math.inf
    inside = (word for word in words if start <= word.seconds <= end)
    return [*islice(inside, MOST_WORDS)]


def compared(
    claimed: Sequence[SpokenWord], expected: Sequence[SpokenWord], stretches: Sequence[Stretch]
) -> TranscriptDistance:
    """Compare a claimed transcript with the auditor's in some stretches of the sound."""
    distances = [
        distance(within(claimed, stretch, MARGIN), within(expected, stretch), stretch)
        for stretch in stretches
    ]
    return TranscriptDistance(
        sum(part.wrong for part in distances),
        sum(part.expected for part in distances),
        tuple(seconds for part in distances for seconds in part.apart),
        sum(part.words for part in distances),
        next((part.first_wrong for part in distances if part.first_wrong), ""),
    )


def distance(
    claimed: Sequence[SpokenWord], expected: Sequence[SpokenWord], stretch: Stretch
) -> TranscriptDistance:
    """Compare a claimed transcript of a stretch with the auditor's. Claimed words beyond an open side are not compared."""
    border = BORDER if len(expected) > 2 * BORDER else 0
    expected = expected[border * stretch.open_start : len(expected) - border * stretch.open_end]
    pairs = _aligned(claimed, expected, stretch)
    wrong, apart = [], list[float]()
    for word, expected_word in pairs:
        if word and expected_word and word.text == expected_word.text:
            apart.append(min(MOST_SECONDS, abs(word.seconds - expected_word.seconds)))
        else:
            wrong.append((word, expected_word))
    return TranscriptDistance(
        wrong=len(wrong),
        expected=len(expected),
        apart=tuple(apart),
        words=max(len(expected), len([word for word, _ in pairs if word])),
        first_wrong=_described(wrong[0]) if wrong else "",
    )


def _described(pair: tuple[SpokenWord | None, SpokenWord | None]) -> str:
    claimed, expected = pair
    at = (expected or claimed or SpokenWord("", 0)).seconds
    texts = [repr(word.text) if word else "nothing" for word in (claimed, expected)]
    return f"at {at:.1f} s: {texts[0]} instead of {texts[1]}"


def _aligned(
    claimed: Sequence[SpokenWord], expected: Sequence[SpokenWord], stretch: Stretch
) -> list[tuple[SpokenWord | None, SpokenWord | None]]:
    """Return the pairs of an alignment with the fewest differences, in order. Claimed words beyond an open side have no pair."""
    rows = [[0 if stretch.open_start else number for number in range(len(claimed) + 1)]]
    for expected_word in expected:
        above, costs = rows[-1], [rows[-1][0] + 1]
        for number, word in enumerate(claimed):
            changed = above[number] + (word.text != expected_word.text)
            costs.append(min(changed, above[number + 1] + 1, costs[-1] + 1))
        rows.append(costs)
    last = rows[-1]
    row, column = len(expected), len(claimed)
    if stretch.open_end:
        column = min(range(len(last)), key=lambda number: (last[number], -number))
    pairs: list[tuple[SpokenWord | None, SpokenWord | None]] = []
    while row or (column and not stretch.open_start):
        if row and column:
            word, expected_word = claimed[column - 1], expected[row - 1]
            if rows[row][column] == rows[row - 1][column - 1] + (word.text != expected_word.text):
                pairs.append((word, expected_word))
                row, column = row - 1, column - 1
                continue
        if row and rows[row][column] == rows[row - 1][column] + 1:
            pairs.append((None, expected[row - 1]))
            row -= 1
        else:
            pairs.append((claimed[column - 1], None))
            column -= 1
    return pairs[::-1]
