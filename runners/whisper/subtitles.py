"""A transcript as a file: plain text, SubRip (SRT), WebVTT and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runners.api import OutputFile

MEDIA_TYPES = {
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "json": "application/json",
}


def write(directory: Path, form: str, results: Mapping[str, Any]) -> OutputFile:
    """Write `results` (text, language, duration, segments) in the format `form`, one of `MEDIA_TYPES`."""
    path = directory / f"transcript.{form}"
    path.write_text(_content(form, results), encoding="utf-8")
    return OutputFile(path, MEDIA_TYPES[form], path.name)


def _content(form: str, results: Mapping[str, Any]) -> str:
    segments: Sequence[Mapping[str, Any]] = results["segments"]
    if form == "json":
        return json.dumps(dict(results), ensure_ascii=False, indent=1) + "\n"
    if form == "srt":
        return "".join(
            f"{number}\n{_times(segment, ',')}\n{_cue(segment)}\n\n"
            for number, segment in enumerate(segments, 1)
        )
    if form == "vtt":
        return "WEBVTT\n\n" + "".join(f"{_times(segment, '.')}\n{_cue(segment)}\n\n" for segment in segments)
    return "".join(f"{segment['text']}\n" for segment in segments)


def _cue(segment: Mapping[str, Any]) -> str:
    """Return the text of a cue, without arrows that would look like the times of another cue."""
    return str(segment["text"]).replace("-->", "->")


def _times(segment: Mapping[str, Any], point: str) -> str:
    return f"{_clock(segment['start'], point)} --> {_clock(segment['end'], point)}"


def _clock(seconds: float, point: str) -> str:
    # Rounded once for all parts, or 59.9996 s would become 60.000 beside a minute too few.
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
