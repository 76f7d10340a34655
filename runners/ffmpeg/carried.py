"""What an output contains besides its pictures: sound tracks, subtitles, cover pictures, attachments and chapters.

What the container can hold is carried over. For the rest there is a warning that says how to keep it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runners.ffmpeg.encoders import audio_options
from runners.ffmpeg.process import HIGH_DEPTH, Media, MediaStream
from runners.ffmpeg.request import MKV_SUBTITLES, SUBTITLE_CODECS, TEXT_SUBTITLES, TranscodeRequest

MULTITRACK = ("mkv", "mp4", "mov", "webm")
"""Containers for several sound tracks."""

COVERED = ("mp4", "m4a", "mp3", "flac")
"""Containers in which ffmpeg stores a cover picture."""

COVER_CODECS = ("mjpeg", "png")

CHAPTERED = ("mkv", "mp4", "mov", "webm", "m4a", "mp3", "ogg")

COPIED_SOUND: Mapping[str, tuple[str, ...]] = {
    "mp4": ("aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"),
    "webm": ("opus", "vorbis"),
}
"""Codecs of further sound tracks that these containers hold unchanged. MKV holds all."""

WAV_BITS = 16

CONTAINED_DATA = ("bin_data", "tmcd", "unknown")
"""Data streams that are chapters or time codes of QuickTime, which ffmpeg writes again."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The parts of `media` besides its pictures that an output of this request contains. Keys are streams' numbers in the input."""

    request: TranscodeRequest
    media: Media

    @property
    def sounds(self) -> tuple[MediaStream, ...]:
        """The sound tracks of the output, in the order of the input."""
        if self.request.sound_codec == "none":
            return ()
        # The first track is never left out: without it, the output would be silent, and a copy that does not fit shall fail aloud.
        first, *further_sounds = self.media.sounds or (None,)
        if first is None:
            return ()
        form = self.request.output_format
        if form not in MULTITRACK:
            return (first,)
        if self.request.sound_codec == "copy" and form in COPIED_SOUND:
            further_sounds = [sound for sound in further_sounds if sound.codec in COPIED_SOUND[form]]
        return (first, *further_sounds)

    @property
    def subtitles(self) -> dict[int, str]:
        """The codec of each subtitle that the container can hold."""
        form = self.request.output_format
        text = SUBTITLE_CODECS.get(form)
        codecs: dict[int, str] = {}
        for stream in self.media.subtitles:
            # Copied where possible, since a conversion to plain text loses fonts, colours and positions.
            if form == "mkv" and stream.codec in MKV_SUBTITLES:
                codecs[stream.index] = "copy"
            elif text is not None and stream.codec in TEXT_SUBTITLES:
                codecs[stream.index] = text
        return codecs

    @property
    def covers(self) -> tuple[MediaStream, ...]:
        """The cover pictures."""
        if self.request.output_format not in COVERED:
            return ()
        return tuple(cover for cover in self.media.covers if cover.codec in COVER_CODECS)

    @property
    def attachments(self) -> tuple[MediaStream, ...]:
        """The attachments, such as the fonts of subtitles."""
        return self.media.attachments if self.request.output_format == "mkv" else ()

    @property
    def _mapped(self) -> list[tuple[str, int]]:
        """The kind and the number of each stream, in their order in the output."""
        kinds: list[tuple[str, Sequence[int]]] = [
            ("a", [sound.index for sound in self.sounds]),
            ("s", list(self.subtitles)),
            ("v", [cover.index for cover in self.covers]),
            ("t", [attachment.index for attachment in self.attachments]),
        ]
        return [(kind, index) for kind, indexes in kinds for index in indexes]

    @property
    def indexes(self) -> list[int]:
        """The numbers of all streams, in their order in the output."""
        return [index for _, index in self._mapped]

    def options(self) -> dict[str, str]:
        """Return ffmpeg's output options for these streams."""
        options: dict[str, str] = {}
        if self.sounds:
            options |= audio_options(self.request, [sound.channels for sound in self.sounds])
        options |= {f"c:s:{number}": codec for number, codec in enumerate(self.subtitles.values())}
        for number in self._cover_numbers():
            options |= {f"c:v:{number}": "copy", f"disposition:v:{number}": "attached_pic"}
        if self.attachments:
            options["c:t"] = "copy"
        return options

    def _cover_numbers(self) -> Iterator[int]:
        """Yield the number of each cover among the output's pictures."""
        # A cover is a picture to ffmpeg, so the film counts among them.
        first = 1 if self.request.has_video else 0
        return iter(range(first, first + len(self.covers)))

    def metadata(self, source: int) -> dict[str, str]:
        """Return the options that take the metadata of these streams, of the file and its chapters from an input."""
        options = {"map_metadata:g": f"{source}:g", "map_chapters": str(source)}
        # Naming one stream's metadata ends the automatic mapping of all.
        if self.media.video is not None:
            options["map_metadata:s:v:0"] = f"{source}:s:{self.media.video.index}"
        # Pictures begin with 1: the film itself is number 0.
        numbers = {"a": 0, "s": 0, "v": 1, "t": 0}
        for kind, index in self._mapped:
            options[f"map_metadata:s:{kind}:{numbers[kind]}"] = f"{source}:s:{index}"
            numbers[kind] += 1
        return options

    def warnings(self) -> list[str]:
        """Return what the output lacks although the client may expect it, and how to keep it."""
        warnings = [*self._sound_warnings(), *self._quality_warnings()]
        if self.request.has_video:
            warnings += self._video_warnings()
        form = self.request.output_format
        if lost := len(self.media.covers) - len(self.covers):
            warnings.append(
                f"The cover {'picture is' if lost == 1 else 'pictures are'} left out: {form} does not get one. "
                f"Choose {_listed([name for name in COVERED if (name == 'mp4') == self.request.has_video])} to keep it."
            )
        if self.media.chapters and form not in CHAPTERED:
            warnings.append(
                f"The {self.media.chapters} chapters are left out: {form} has none. Choose {_advice(self.request)}."
            )
        return warnings

    def _sound_warnings(self) -> Iterator[str]:
        lost = len(self.media.sounds) - len(self.sounds)
        if lost <= 0 or not self.sounds:
            return
        form, total = self.request.output_format, len(self.media.sounds)
        if form in MULTITRACK:
            yield (
                f"{lost} of {total} sound tracks cannot be copied into {form}. Choose mkv, or another audio_codec than "
                "copy, to keep all."
            )
        else:
            yield (
                f"Only the first of {total} sound tracks is in the output: {form} holds one. Choose "
                f"{_listed(MULTITRACK)} to keep all."
            )

    def _quality_warnings(self) -> Iterator[str]:
        codec = self.request.sound_codec
        for sound in self.sounds[:1]:
            if codec == "opus" and sound.channels > 2:  # noqa: PLR2004 - stereo
                yield (
                    f"The sound's {sound.channels} channels become stereo with opus. Choose audio_codec aac or flac, where "
                    "the container can hold it, to keep them."
                )
            if codec == "pcm" and sound.depth > WAV_BITS:
                yield f"The sound's {sound.depth} bits become {WAV_BITS} in wav. Choose flac to keep them."

    def _video_warnings(self) -> Iterator[str]:
        form = self.request.output_format
        lost = sorted({stream.codec for stream in self.media.subtitles if stream.index not in self.subtitles})
        if lost:
            advice = "" if form == "mkv" else " Choose mkv to keep them."
            yield f"{form} cannot contain the subtitles in the format {', '.join(lost)}.{advice}"
        if left_out := len(self.media.attachments) - len(self.attachments):
            yield (
                f"{left_out} attached {'file is' if left_out == 1 else 'files are'} left out, such as fonts of subtitles: {form} "
                "cannot contain any. Choose mkv to keep them."
            )
        if self.media.videos > 1:
            yield (
                f"Only the first of {self.media.videos} video tracks is in the output. Send the others as files of their own."
            )
        data = sorted({codec for codec in self.media.data if codec not in CONTAINED_DATA})
        if data:
            yield f"The data tracks in the format {', '.join(data)} are left out: they cannot be converted."


def depth_warning(codec: str, depth: int, retained: int, *, hdr: bool) -> str | None:
    """Return a warning if pictures of this depth lose bits or HDR in a codec that keeps `retained` bits."""
    if hdr and retained < HIGH_DEPTH:
        return f"The HDR pictures become SDR of {retained} bits with {codec}. Choose codec hevc or av1 to keep HDR."
    if depth > retained:
        advice = " Choose codec hevc or av1 to keep 10 bits." if retained < HIGH_DEPTH else ""
        return f"The pictures' {depth} bits per color become {retained} with {codec}.{advice}"
    return None


def _advice(request: TranscodeRequest) -> str:
    return "mkv, mp4, mov or webm to keep them" if request.has_video else "m4a, mp3 or ogg to keep them"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
