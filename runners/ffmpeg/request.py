"""The request of a transcoding job, and the codecs that each container supports."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from runners.api import File, InputFile, Strict, WrongField, shown_as
from runners.ffmpeg.spellings import RESOLUTION, normal

Container = Literal["mp4", "webm", "mkv", "mov", "gif", "mp3", "m4a", "ogg", "flac", "wav"]
VideoCodec = Literal["h264", "hevc", "av1", "vp9", "copy"]
AudioCodec = Literal["aac", "opus", "mp3", "flac", "copy", "none"]

VIDEO_CODECS: dict[str, tuple[str, ...]] = {
    "mp4": ("h264", "hevc", "av1", "vp9", "copy"),
    "mov": ("h264", "hevc", "copy"),
    "mkv": ("h264", "hevc", "av1", "vp9", "copy"),
    "webm": ("vp9", "av1", "copy"),
}
"""Video codecs by container, the default first. GIF has its own codec; the other containers contain only audio."""

AUDIO_CODECS: dict[str, tuple[str, ...]] = {
    "mp4": ("aac", "mp3", "opus", "flac", "copy", "none"),
    "mov": ("aac", "mp3", "copy", "none"),
    "mkv": ("aac", "opus", "mp3", "flac", "copy", "none"),
    "webm": ("opus", "copy", "none"),
    "gif": ("none",),
    "mp3": ("mp3", "copy"),
    "m4a": ("aac", "copy"),
    "ogg": ("opus", "flac", "copy"),
    "flac": ("flac", "copy"),
    "wav": (),
}
"""Audio codecs by container, the default first. WAV always holds 16-bit PCM."""

TEXT_SUBTITLES = ("subrip", "ass", "ssa", "webvtt", "mov_text", "text")
"""ffmpeg's names of subtitle formats that consist of text; they can be converted into each other."""

SUBTITLE_CODECS: dict[str, str] = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "mkv": "subrip"}
"""The format of text subtitles by container."""

MKV_SUBTITLES = ("subrip", "ass", "ssa", "webvtt", "dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle")
"""Subtitle formats that MKV contains unchanged."""

MEDIA_TYPES: dict[str, str] = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "gif": "image/gif",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
}

SIDE = (16, 8192)
"""Smallest and largest width and height in pixels."""

MAX_CRF = {"h264": 51, "hevc": 51, "av1": 63, "vp9": 63}
"""Largest `quality` by codec."""

_RATE = r"^[1-9]\d{0,6}(\.\d{1,3})?[kM]?$"


class TranscodeRequest(Strict):
    """Input of the service `video_transcoding`. Times are seconds of the input.

    With `codec` or `audio_codec` "copy" the stream is copied unchanged, which is fast and lossless; a trimmed
    copy begins at the last key frame before `start`. `resolution` gives the exact size of the output: `fit` "pad"
    keeps the picture's shape and fills the rest with black bars, "stretch" distorts it, "contain" keeps the shape and
    gives up the exact size (the picture fits inside). Resolutions like "720p", "1280x" and "x720" imply "contain". Other usual
    names are understood, such as "h265" for hevc. `quality` is the constant rate factor (less is better).
    Sound tracks, text subtitles, chapters, cover pictures and attachments are carried over where the container can hold them;
    MKV also contains subtitles that are pictures. HDR and 10 bits stay with hevc and av1; with the other codecs, pictures become
    SDR of 8 bits, which every player supports. The result's `warnings` name what was left out, and how to keep it.
    """

    model_config = shown_as(
        {
            "input_url": "https://example.com/video.mp4",
            "output_format": "mp4",
            "codec": "h264",
            "resolution": "1920x1080",
        }
    )

    input_url: Annotated[str, InputFile()] = Field(min_length=1, max_length=4096)
    output_format: Container = "mp4"
    codec: VideoCodec | None = Field(default=None, description="Default: the container's usual codec.")
    resolution: str | None = Field(
        default=None,
        pattern=r"^\d{2,4}x\d{2,4}$",
        examples=["1920x1080", "720p"],
        json_schema_extra={"pattern": RESOLUTION},
    )
    fit: Literal["pad", "contain", "stretch"] = "pad"
    fps: float | None = Field(default=None, ge=1, le=240, allow_inf_nan=False)
    bitrate: str | None = Field(default=None, pattern=_RATE, examples=["2500k", "4M"])
    quality: int | None = Field(default=None, ge=0, le=63)
    audio_codec: AudioCodec | None = Field(default=None, description="Default: the container's usual codec.")
    audio_bitrate: str | None = Field(default=None, pattern=_RATE, examples=["128k"])
    start: float = Field(default=0, ge=0, allow_inf_nan=False)
    duration: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    end: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    hardware: Literal["auto", "off", "required"] = "auto"

    @property
    def has_video(self) -> bool:
        """Whether the container has pictures."""
        return self.output_format in VIDEO_CODECS or self.output_format == "gif"

    @property
    def video_codec(self) -> str | None:
        """The codec for pictures; None for a container without pictures."""
        if self.output_format == "gif":
            return "gif"
        return self.codec or next(iter(VIDEO_CODECS.get(self.output_format, ())), None)

    @property
    def sound_codec(self) -> str:
        """The codec for sound, or "none"."""
        if self.output_format == "wav":
            return "pcm"
        return self.audio_codec or AUDIO_CODECS[self.output_format][0]

    @property
    def size(self) -> tuple[int, int] | None:
        """Requested width and height of the output."""
        if self.resolution is None:
            return None
        width, height = self.resolution.split("x")
        return int(width), int(height)

    @property
    def length(self) -> float | None:
        """Seconds of the input to take from `start`; None for the rest of it."""
        return self.end - self.start if self.end is not None else self.duration

    @model_validator(mode="before")
    @classmethod
    def _usual_spellings(cls, values: Any) -> Any:
        return normal(values, SIDE[1]) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _codecs_fit(self) -> Self:
        container = self.output_format
        video, audio = VIDEO_CODECS.get(container, ()), AUDIO_CODECS[container]
        if self.codec is not None and self.codec not in video:
            fitting = f"codecs that fit: {', '.join(video)}" if video else "omit codec"
            raise WrongField("codec", f"codec {self.codec!r} does not fit into {container!r}; {fitting}")
        if self.audio_codec is not None and self.audio_codec not in audio:
            fitting = f"audio codecs that fit: {', '.join(audio)}" if audio else "omit audio_codec"
            raise WrongField(
                "audio_codec", f"audio_codec {self.audio_codec!r} does not fit into {container!r}; {fitting}"
            )
        return self

    @model_validator(mode="after")
    def _picture_fits(self) -> Self:
        picture_fields = [
            name for name in ("resolution", "fps", "bitrate", "quality") if getattr(self, name) is not None
        ]
        if picture_fields and not self.has_video:
            raise WrongField(
                picture_fields[0],
                f"{picture_fields[0]} has no meaning for {self.output_format!r}, which contains only sound",
            )
        if picture_fields and self.codec == "copy":
            raise WrongField(
                picture_fields[0],
                f"{picture_fields[0]} requires encoding; omit it or choose another codec than 'copy'",
            )
        if self.output_format == "gif" and (self.bitrate is not None or self.quality is not None):
            raise WrongField(
                "quality" if self.bitrate is None else "bitrate",
                "bitrate and quality have no meaning for 'gif'",
            )
        if self.hardware == "required" and self.video_codec not in ("h264", "hevc", "av1"):
            raise WrongField("hardware", "hardware 'required' needs codec h264, hevc or av1")
        for side in self.size or ():
            if side % 2 or not SIDE[0] <= side <= SIDE[1]:
                raise WrongField(
                    "resolution", f"both sides of resolution must be even and from {SIDE[0]} to {SIDE[1]}"
                )
        return self

    @model_validator(mode="after")
    def _rates_fit(self) -> Self:
        if self.bitrate is not None and self.quality is not None:
            raise WrongField("bitrate", "give bitrate or quality, not both")
        limit = MAX_CRF.get(self.video_codec or "", 63)
        if self.quality is not None and self.quality > limit:
            raise WrongField("quality", f"quality of {self.video_codec} is at most {limit}")
        if self.audio_bitrate is not None and self.sound_codec in ("flac", "pcm", "copy", "none"):
            raise WrongField(
                "audio_bitrate", f"audio_bitrate has no meaning for audio codec {self.sound_codec!r}"
            )
        return self

    @model_validator(mode="after")
    def _trim_fits(self) -> Self:
        if self.duration is not None and self.end is not None:
            raise WrongField("end", "give duration or end, not both")
        if self.end is not None and self.end <= self.start:
            raise WrongField("end", "end must be after start")
        return self


class TranscodeResult(BaseModel, defer_build=True):
    """Output of the service. `codec` is that of the pictures, or of the sound without pictures; sizes are in pixels.

    `encoder` is ffmpeg's name of the pictures' encoder. `resumed_until` is in the results of a miner that took over the job: another miner encoded the pictures before this
    time, in seconds. The signer attests that it received them and that their times match the input. `warnings` name what the
    output lacks, such as subtitles that its container cannot hold.
    """

    file: File
    duration: float
    width: int | None
    height: int | None
    codec: str
    encoder: str | None = None
    resumed_until: float | None = None
    warnings: list[str] = []
