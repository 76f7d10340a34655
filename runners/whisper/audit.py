"""Audits of transcripts: the auditor transcribes a random minute again and compares words and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from runners.api import Audited, AuditResult, Comparer, Comparison, Condition, judge
from runners.audits import failed
from runners.whisper.comparison import (
    LEAST_WORDS,
    Span,
    Stretch,
    chosen_window,
    compared,
    same_words,
    timed_words,
)
from runners.whisper.request import TranscribeRequest, TranscribeResult

COMPARER = Comparer(
    "Another machine transcribes a random minute again, and compares words and times.",
    cost="window",
    least_limits={"words": 0.1, "seconds": 1.0},
)


VARIES = "With a temperature above 0 the text varies."


def unprovable(parameters: Mapping[str, Any]) -> str | None:
    """Return why comparing another transcript proves nothing and what to change, None if it does."""
    return f"{VARIES} Request a temperature of 0." if parameters.get("temperature") else None


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The segments of a window, and the spans whose text depends on chance (`engines.is_doubtful`)."""

    segments: Sequence[Mapping[str, Any]]
    doubtful: Sequence[Span]


Transcribe = Callable[[float, float], Transcribed]
"""Transcribes a window of the sound, in seconds from its beginning to its end."""

_SLACK = 0.1
"""Seconds by which two decoders of the same sound may differ in its duration."""


def audit(
    request: TranscribeRequest, audited: Audited, duration: float, transcribe: Transcribe, auditor: Condition
) -> AuditResult:
    """Compare the audited transcript of a random window with the known answer, or with the auditor's.

    Where the auditor's depends on chance, nothing is compared: an honest miner's does too.
    """
    try:
        stated = TranscribeResult.model_validate(audited.results)
    except ValidationError:
        return AuditResult(failed("the results", "The results are malformed."))
    if abs(stated.duration - duration) > _SLACK:
        reason = f"The sound lasts {duration:.1f} s, but {stated.duration:.1f} s are stated."
        return AuditResult(failed("the duration", reason))
    claimed = [segment.model_dump() for segment in stated.segments]
    if not same_words(stated.text, claimed):
        return AuditResult(failed("the text", "The text is not that of its segments."))
    if request.temperature:
        return AuditResult(Comparison("unproven", VARIES))
    start, end = chosen_window(audited.choice, duration)
    ours = transcribe(start, end)
    segments = ours.segments if audited.answer is None else audited.answer["segments"]
    window = Stretch(start, end, open_start=start > 0, open_end=end < duration)
    distance = compared(timed_words(claimed), timed_words(segments), window.without(ours.doubtful))
    units = Decimal(str(round(end - start, 3)))
    if distance.words < LEAST_WORDS:
        parts = " that Whisper understands well enough" if ours.doubtful else ""
        reason = f"There are fewer than {LEAST_WORDS} words{parts} in the window, too few to compare."
        return AuditResult(Comparison("unproven", reason), units)
    distances = {"words": distance.errors, "seconds": distance.seconds}
    calibration = audited.calibration(audited.condition, auditor)
    return AuditResult(judge(distances, calibration, where=distance.first_wrong, of="the transcript"), units)
