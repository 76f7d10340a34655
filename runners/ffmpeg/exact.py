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


def check_claims(request: TranscodeRequest, claimed: TranscodeResult, units: object, media: Media) -> None:
    """Raise `DifferenceError` unless the results and the metered units describe the file."""
    stream = (media.video if request.has_video else None) or media.audio
    if stream is None or media.duration is None:
        raise DifferenceError("streams", "The file contains no pictures or sound of a known duration.")
    has_pictures = stream.kind == "video"
    sides = (stream.width, stream.height) if has_pictures else (None, None)
    stated = (claimed.width, claimed.height, claimed.codec)
    if stated != (*sides, stream.codec) or abs(claimed.duration - media.duration) > DURATION_TOLERANCE:
        raise DifferenceError(
            "results", "The results describe another file than the one that the miner signed."
        )
    weight = Decimal(stream.width * stream.height) / 1_000_000 if has_pictures else SOUND_WEIGHT
    # Only too many units are a fault: a miner that meters less harms nobody.
    most_units = Decimal(str(media.duration)) * weight * UNITS_TOLERANCE
    try:
        excessive = Decimal(str(units)) > most_units
    except InvalidOperation:
        excessive = True
    if excessive:
        raise DifferenceError("units", f"The miner metered {units} units; the file has {most_units:.6f}.")


def check_duration(request: TranscodeRequest, plan: Plan, media: Media, pictures: Packets) -> None:
    """Raise `DifferenceError` unless the duration is the requested one.

    A source may state another duration than it has, so that the time of the pictures, whose number is right, counts too.
    """
    if "copy" in (request.codec, request.audio_codec):
        return  # a copy begins at a key frame
    duration = media.duration or 0.0
    tolerance = DURATION_TOLERANCE + 2 * pictures.gap
    if min(abs(duration - plan.seconds), abs(duration - pictures.seconds)) > tolerance:
        raise DifferenceError("duration", f"The file lasts {duration:.3f} s instead of {plan.seconds:.3f} s.")


def check_streams(own_media: Media, their_media: Media, plan: Plan) -> None:
    """Raise `DifferenceError` unless the file has the container, codecs and streams of `own_media`, the auditor's encoding of a part."""
    if own_media.format != their_media.format:
        raise DifferenceError(
            "container", f"The container is {their_media.format} instead of {own_media.format}."
        )
    if own_media.video is not None and their_media.video is not None:
        for name in ("codec", "width", "height", "depth", "color", "square_pixels"):
            expected_value, value = getattr(own_media.video, name), getattr(their_media.video, name)
            if expected_value != value:
                raise DifferenceError(
                    f"pictures: {name}", f"The pictures' {name} is {value} instead of {expected_value}."
                )
    elif own_media.video is not their_media.video:
        raise DifferenceError("streams", "Only one of the two files has pictures.")
    carried = plan.carried
    for name in ("sounds", "subtitles", "covers", "attachments"):
        expected, count = len(getattr(carried, name)), len(getattr(their_media, name))
        if count != expected:
            raise DifferenceError("streams", f"The file has {count} {name} instead of {expected}.")
    for own_sound, their_sound in zip(own_media.sounds, their_media.sounds, strict=False):
        if (own_sound.codec, own_sound.channels) != (their_sound.codec, their_sound.channels):
            raise DifferenceError(
                "sound",
                f"The sound is {their_sound.codec} with {their_sound.channels} channels instead of {own_sound.codec} with {own_sound.channels}.",
            )
