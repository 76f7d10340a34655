"""The exact figures of a transcoded file: what its results and its miner's bill say, its streams, its duration and its pictures' number."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from runners.ffmpeg.packets import Packets
from runners.ffmpeg.plan import SOUND_WEIGHT, Plan
from runners.ffmpeg.process import Media
from runners.ffmpeg.request import TranscodeRequest, TranscodeResult

DURATION_TOLERANCE: Final = 0.25
"""Seconds by which containers and encoders change a duration."""

UNITS_TOLERANCE: Final = Decimal("1.01")


class DifferenceError(Exception):
    """An exact figure differs: where, and how."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where


def check_claims(request: TranscodeRequest, claimed: TranscodeResult, units: object, theirs: Media) -> None:
    """Raise `DifferenceError` unless the results and the metered units describe the file."""
    stream = (theirs.video if request.has_video else None) or theirs.audio
    if stream is None or theirs.duration is None:
        raise DifferenceError("streams", "The file contains no pictures or sound of a known duration.")
    has_pictures = stream.kind == "video"
    sides = (stream.width, stream.height) if has_pictures else (None, None)
    stated = (claimed.width, claimed.height, claimed.codec)
    if stated != (*sides, stream.codec) or abs(claimed.duration - theirs.duration) > DURATION_TOLERANCE:
        raise DifferenceError(
            "results", "The results describe another file than the one that the miner signed."
        )
    weight = Decimal(stream.width * stream.height) / 1_000_000 if has_pictures else SOUND_WEIGHT
    most = Decimal(str(theirs.duration)) * weight * UNITS_TOLERANCE
    try:
        excessive = Decimal(str(units)) > most
    except InvalidOperation:
        excessive = True
    if excessive:
        raise DifferenceError("units", f"The miner metered {units} units; the file has {most:.6f}.")


def check_duration(request: TranscodeRequest, plan: Plan, theirs: Media, pictures: Packets) -> None:
    """Raise `DifferenceError` unless the duration is the requested one.

    A source may state another duration than it has, so that the time of the pictures, whose number is right, counts too.
    """
    if "copy" in (request.codec, request.audio_codec):
        return  # a copy begins at a key frame
    duration = theirs.duration or 0.0
    tolerance = DURATION_TOLERANCE + 2 * pictures.gap
    if min(abs(duration - plan.seconds), abs(duration - pictures.seconds)) > tolerance:
        raise DifferenceError("duration", f"The file lasts {duration:.3f} s instead of {plan.seconds:.3f} s.")


def check_streams(own: Media, theirs: Media, plan: Plan) -> None:
    """Raise `DifferenceError` unless the file has the container, codecs and streams of the auditor's `own` encoding of a part."""
    if own.format != theirs.format:
        raise DifferenceError("container", f"The container is {theirs.format} instead of {own.format}.")
    if own.video is not None and theirs.video is not None:
        for name in ("codec", "width", "height", "depth", "color", "square_pixels"):
            wanted, found = getattr(own.video, name), getattr(theirs.video, name)
            if wanted != found:
                raise DifferenceError(
                    f"pictures: {name}", f"The pictures' {name} is {found} instead of {wanted}."
                )
    elif own.video is not theirs.video:
        raise DifferenceError("streams", "Only one of the two files has pictures.")
    carried = plan.carried
    for name in ("sounds", "subtitles", "covers", "attachments"):
        expected, count = len(getattr(carried, name)), len(getattr(theirs, name))
        if count != expected:
            raise DifferenceError("streams", f"The file has {count} {name} instead of {expected}.")
    for one, other in zip(own.sounds, theirs.sounds, strict=False):
        if (one.codec, one.channels) != (other.codec, other.channels):
            raise DifferenceError(
                "sound",
                f"The sound is {other.codec} with {other.channels} channels instead of {one.codec} with {one.channels}.",
            )
