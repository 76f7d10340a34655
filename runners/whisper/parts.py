"""The finished parts of a transcript: handed over as checkpoints, and read by a later run of the job on another miner.

A part contains the segments between two of the engine's own borders, so writing it does not change an uninterrupted
run. A resumed run knows neither the sound nor the words before its border, so a word there may differ.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from runners.api import Context, OutputFile, Strict
from runners.whisper.request import LANGUAGES, UNDETERMINED, TranscribeRequest

PART_FILES: Final = {r"part_\d{4}\.json": "application/json"}
"""Regular expressions of the names of checkpoints, with their media type."""

MAX_PARTS: Final = 9999
MAX_PART_BYTES: Final = 8 * 2**20
MAX_SEGMENTS: Final = 20_000
MAX_WORDS: Final = 1000
"""Limits of the parts of a job, the bytes and segments of a part, and the words of a segment: far more than speech has."""

TEXT_PER_SECOND: Final = 200
TEXT_MARGIN: Final = 2000
"""Most characters in a part: per second, plus a margin. Whisper writes at most 224 tokens for a window."""

TIME_MARGIN: Final = 0.5
"""Seconds by which a segment's times may be outside its part, because engines round them."""

_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Text = Annotated[str, StringConstraints(max_length=TEXT_MARGIN * 2)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Checked(Strict):
    """Base of checkpoints, which are validated without conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Word(_Checked):
    word: _Text
    start: _Time
    end: _Time
    probability: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Segment(_Checked):
    start: _Time
    end: _Time
    text: _Text
    words: Annotated[tuple[_Word, ...], Field(max_length=MAX_WORDS, strict=False)] | None = None


class Part(_Checked):
    """One checkpoint. Times are seconds of the audio; `text` is the text of the segments, with spaces between them."""

    format: Literal[1]
    request: _Digest
    audio: _Digest
    language: str
    start: _Time
    end: _Time
    text: Annotated[str, StringConstraints(max_length=MAX_PART_BYTES)]
    segments: Annotated[tuple[_Segment, ...], Field(max_length=MAX_SEGMENTS, strict=False)]


@dataclass(frozen=True, slots=True)
class Resumed:
    """The transcript of earlier runs, up to `until` in seconds. `parts` is the number of their checkpoints."""

    until: float = 0.0
    parts: int = 0
    language: str | None = None
    text: str = ""
    segments: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class PartIdentity:
    """The job of a part: the digests of the request and of the audio file."""

    request: str
    audio: str

    @classmethod
    def of(cls, request: TranscribeRequest, audio: Path) -> PartIdentity:
        """Hash the request and the file."""
        described = json.dumps(request.model_dump(mode="json"), sort_keys=True).encode()
        with audio.open("rb") as file:
            return cls(hashlib.sha256(described).hexdigest(), hashlib.file_digest(file, "sha256").hexdigest())


def resume(request: TranscribeRequest, context: Context, duration: float) -> Resumed:
    """Return the transcript in the checkpoints, up to the first missing or invalid one; `duration` is that of the audio."""
    resumed = Resumed()
    if not context.checkpoints:
        return resumed
    identity = PartIdentity.of(request, context.files["audio_url"])
    while (path := context.checkpoints.get(_name(resumed.parts + 1))) is not None:
        part = _read(path)
        if part is None or not _fits(part, request, identity, resumed, duration):
            break
        resumed = Resumed(
            until=part.end,
            parts=resumed.parts + 1,
            language=part.language,
            text=resumed.text + part.text,
            segments=(
                *resumed.segments,
                *(item.model_dump(mode="json", exclude_none=True) for item in part.segments),
            ),
        )
    return resumed


def _name(number: int) -> str:
    return f"part_{number:04}.json"


def _read(path: Path) -> Part | None:
    with path.open("rb") as file:
        content = file.read(MAX_PART_BYTES + 1)
    if len(content) > MAX_PART_BYTES:
        return None
    try:
        return Part.model_validate_json(content)
    except ValidationError:
        return None


def _fits(
    part: Part, request: TranscribeRequest, identity: PartIdentity, resumed: Resumed, duration: float
) -> bool:
    """Return whether a part belongs to this job, continues what is `resumed`, and can be a transcript."""
    return (
        (part.request, part.audio) == (identity.request, identity.audio)
        and (part.language in LANGUAGES or part.language == UNDETERMINED)
        and part.language == (request.language or resumed.language or part.language)
        and part.start == resumed.until
        and part.start < part.end <= duration
        and len(part.text) <= TEXT_MARGIN + TEXT_PER_SECOND * (part.end - part.start)
        and _plain(part.text)
        # White space may differ, since engines put it at the beginning or the end of a segment.
        and _letters(part.text) == _letters("".join(segment.text for segment in part.segments))
        and _in_order(part.segments, part.start - TIME_MARGIN, part.end + TIME_MARGIN)
        and all(_words_fit(segment, required=request.word_timestamps) for segment in part.segments)
    )


def _words_fit(segment: _Segment, *, required: bool) -> bool:
    if segment.words is None or not required:
        return segment.words is None and not required
    spoken = _letters("".join(word.word for word in segment.words))
    bounds = segment.start - TIME_MARGIN, segment.end + TIME_MARGIN
    return spoken == _letters(segment.text) and _in_order(segment.words, *bounds)


def _in_order(items: Sequence[_Segment | _Word], first: float, last: float) -> bool:
    """Return whether the items are between the two times, each begins before its end and not before its predecessor."""
    for item in items:
        if not first <= item.start <= item.end <= last:
            return False
        first = item.start
    return True


def _letters(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _plain(text: str) -> bool:
    """Return whether a text contains no control characters, line separators or surrogates."""
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


class PartWriter:
    """Hands over the parts of one run. `every` is the minimum time between two, in seconds of work.

    It receives each segment, and the engine's borders: times before which all segments are known.
    """

    def __init__(
        self, request: TranscribeRequest, context: Context, resumed: Resumed, duration: float, every: float
    ) -> None:
        self._request = request
        self._context = context
        self._duration = duration
        self._every = every
        self._start = resumed.until
        self._number = resumed.parts
        self._segments: list[Mapping[str, Any]] = []
        self._text = ""
        self._last = time.monotonic()
        self._identity: PartIdentity | None = None

    def segment(self, segment: Mapping[str, Any], text: str) -> None:
        """Add a finished segment, and its text with the preceding space."""
        self._segments.append(segment)
        self._text += text

    def border(self, seconds: float, language: str | None) -> None:
        """Hand over the segments before this time if the last part is old enough."""
        end = round(seconds, 3)
        # Without a language, the next run could continue in another one.
        if language is None or not self._start < end <= self._duration or self._number >= MAX_PARTS:
            return
        if time.monotonic() - self._last < self._every:
            return
        self._hand_over(end, language)
        self._segments, self._text, self._start = [], "", end
        self._last = time.monotonic()

    def _hand_over(self, end: float, language: str) -> None:
        if self._identity is None:
            self._identity = PartIdentity.of(self._request, self._context.files["audio_url"])
        self._number += 1
        part = {
            "format": 1, "request": self._identity.request, "audio": self._identity.audio, "language": language,
            "start": self._start, "end": end, "text": self._text, "segments": self._segments,
        }  # fmt: skip
        path = self._context.output / _name(self._number)
        path.write_text(json.dumps(part, ensure_ascii=False), encoding="utf-8")
        self._context.checkpoint(OutputFile(path, "application/json", path.name))
