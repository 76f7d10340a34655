"""Audits of speech: the auditor speaks some passages again, and compares their pace and spectrum with those of the file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from runners.api import Audited, AuditResult, Comparer, Comparison, Condition, Fail, judge
from runners.audits import failed
from runners.speech.likeness import distances
from runners.speech.request import SpokenPassage, SynthesisRequest, SynthesisResult

if TYPE_CHECKING:
    from runners.speech.base import Samples

COMPARER: Final = Comparer(
    "Another machine speaks a random passage again, and compares its pace and its spectrum.",
    cost="window",
    least_limits={"pace": 0.15, "spectrum": 4.0},
)

LEAST_CHARACTERS: Final = 60
"""Characters that are compared, if the text has so many: the pace of a short passage varies."""

LONGEST_PAUSE: Final = 2.0
"""Seconds between two passages; a slow voice makes longer ones than a fast one."""

Speak = Callable[[str], "Samples"]
"""Speaks a passage with the request's voice, at `likeness.RATE`."""
Cut = Callable[[float, float], "Samples"]
"""Returns a part of the audited file, from its first second to its last, at `likeness.RATE`. Raises `Fail` if it cannot be decoded."""


def audit(
    request: SynthesisRequest, voice: str, audited: Audited, speak: Speak, cut: Cut, auditor: Condition
) -> AuditResult:
    """Compare random passages of the audited file with own ones by the same voice."""
    try:
        stated = SynthesisResult.model_validate(audited.results)
    except ValidationError:
        return AuditResult(failed("the results", "The results are malformed."))
    if (problem := _implausible(request, voice, stated)) is not None:
        return AuditResult(problem)
    chosen = _chosen(stated.segments, audited.choice)
    units = Decimal(sum(len(passage.text) for passage in chosen))
    worst, worst_passage = {"pace": 0.0, "spectrum": 0.0}, ""
    for passage in chosen:
        try:
            their_samples = cut(passage.start, passage.end)
        except Fail:
            return AuditResult(failed("the file", "The file cannot be decoded."))
        for name, distance in distances(speak(passage.text), their_samples).items():
            # JSON has no infinity.
            bounded = min(distance, 1000.0)
            if bounded > worst[name]:
                worst[name], worst_passage = bounded, f"{passage.start:.1f} s to {passage.end:.1f} s"
    calibration = audited.calibration(audited.condition, auditor)
    return AuditResult(judge(worst, calibration, where=worst_passage, of="the spoken passage"), units)


def _implausible(request: SynthesisRequest, voice: str, stated: SynthesisResult) -> Comparison | None:
    """Return the verdict about results that contradict the request or themselves; None if nothing does."""
    if stated.voice != voice:
        reason = f"The voice {voice!r} was requested, and {stated.voice[:100]!r} is stated."
        return failed("the voice", reason)
    if _letters(" ".join(passage.text for passage in stated.segments)) != _letters(request.input):
        return failed("the passages", "The passages are not those of the text.")
    end = 0.0
    for passage in stated.segments:
        in_order = end <= passage.start < passage.end <= stated.duration and math.isfinite(passage.end)
        if not in_order or passage.start - end > LONGEST_PAUSE:
            return failed("the times", "The times of the passages contradict each other.")
        end = passage.end
    return None


def _letters(text: str) -> str:
    """Return a text without what the division into passages may change."""
    return "".join(filter(str.isalnum, text))


def _chosen(stated: list[SpokenPassage], choice: str) -> list[SpokenPassage]:
    """Return random passages with at least `LEAST_CHARACTERS` together, if there are so many."""
    shuffled = random.Random(choice).sample(stated, len(stated))  # noqa: S311 - `choice` is the secret
    chosen: list[SpokenPassage] = []
    for passage in shuffled:
        if sum(len(earlier.text) for earlier in chosen) >= LEAST_CHARACTERS:
            break
        chosen.append(passage)
    return chosen
