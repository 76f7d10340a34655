"""The conversion of one input: ffmpeg's command lines, composed with ffmpeg-python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from runners.api import Context, FailureCode, Retry
from runners.ffmpeg import card
from runners.ffmpeg.carried import Carried, depth_warning
from runners.ffmpeg.encoders import (
    HARDWARE,
    USUAL_DEPTH,
    keeps_depth,
    pass_options,
    pixel_format,
    retained_depth,
    takes_two_passes,
    video_options,
)
from runners.ffmpeg.process import Color, Media, MediaStream, input_options
from runners.ffmpeg.request import TranscodeRequest

SOUND_WEIGHT = Decimal("0.1")
"""Units of one second of an output without pictures, as for a picture of 0.1 megapixels."""


MUXERS = {"mkv": "matroska", "m4a": "ipod"}
"""ffmpeg's names of containers, if they differ from the common name."""

GIF_FPS = 15.0
"""Default pictures per second of a GIF, whose timing cannot represent the usual 30 exactly."""

DIFFUSE_WHITE = 203
"""Brightness of white paper in HDR, in candelas per square metre (ITU-R BT.2408). It becomes the white of SDR."""

SEEK_MARGIN = 0.0001
"""Seconds before a picture at which reading begins, so that rounding does not lose it; less than the time between two pictures."""


ENCODER_MEMORY = {
    "libx264": 200 * 2**20,
    "libx265": 200 * 2**20,
    "libsvtav1": 150 * 2**20,
    "libvpx-vp9": 140 * 2**20,
}
"""Bytes that an encoder needs per megapixel of a picture, measured with two threads; more threads need more."""
FIRST_PASS = 0.3
"""Share of the work that is done after the first of two passes."""

NO_OPTIONS: Mapping[str, str] = {}

FULL_PIPELINE_SECONDS = 4.0
"""A shorter clip may have fewer pictures than the encoder holds at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The conversion of one input."""

    request: TranscodeRequest
    media: Media
    """The input."""
    seconds: float
    """The length of the output."""
    encoder: str | None
    """ffmpeg's name of the encoder of pictures; None without pictures."""
    threads: int
    on_card: bool = False
    """Whether the GPU also decodes and scales the pictures, so that they need not travel to main memory and back."""

    @property
    def megapixels(self) -> Decimal:
        """Megapixels of each output picture, as far as known before encoding; `SOUND_WEIGHT` without pictures."""
        video = self.media.video
        if self.encoder is None or video is None:
            return SOUND_WEIGHT
        width, height = self.request.size or (video.width, video.height)
        return Decimal(width * height) / 1_000_000

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures for the encoder, as far as known before encoding."""
        video = self.media.video
        if video is None:
            return 0, 0
        size = self.request.size
        if size is None:
            # Chroma has half the resolution, so encoders refuse odd sides.
            return video.width // 2 * 2, video.height // 2 * 2
        if self.request.fit != "contain":
            return size
        scale = min(size[0] / video.width, size[1] / video.height)
        return int(video.width * scale) // 2 * 2, int(video.height * scale) // 2 * 2

    @property
    def _video(self) -> MediaStream:
        """The input's pictures, of a plan that has some."""
        if self.media.video is None:
            raise ValueError("the plan has no pictures")
        return self.media.video

    @property
    def uses_card(self) -> bool:
        """Whether the GPU encodes the pictures."""
        return self.encoder in HARDWARE.values()

    @property
    def fits_card(self) -> bool:
        """Whether the GPU may be able to decode and scale the pictures that it encodes. It cannot convert HDR to SDR."""
        video = self.media.video
        encodes = self.uses_card and self.converted_color is None
        return encodes and video is not None and card.decodes(video)

    @property
    def last_pass(self) -> int | None:
        """The number of the last pass over the pictures; None if they are encoded only once."""
        return 2 if self.encoder is not None and takes_two_passes(self.encoder, self.request) else None

    @property
    def converted_color(self) -> Color | None:
        """The color of HDR that becomes SDR because the encoder cannot keep it; None if nothing is converted."""
        if self.encoder is None or keeps_depth(self.encoder) or self.media.video is None:
            return None
        return self.media.video.color

    def require_memory(self, limit: int) -> None:
        """Raise `Retry` before any work if pictures of this size need more memory than a run may use."""
        per_megapixel = ENCODER_MEMORY.get(self.encoder or "")
        if per_megapixel is None or self.seconds < FULL_PIPELINE_SECONDS:
            return
        needed = int(self.megapixels * per_megapixel)
        if needed > limit:
            raise Retry(
                f"Encoding pictures of {self.megapixels:.1f} megapixels needs about {needed / 2**30:.1f} GiB of memory, and this miner allows "
                f"{limit / 2**30:.1f} GiB per run. Request a smaller resolution.",
                code=FailureCode.NO_MEMORY,
            )

    @property
    def metered(self) -> Decimal:
        """Units of the whole output, as far as known before encoding."""
        return round(Decimal(str(self.seconds)) * self.megapixels, 6)

    def arguments(self, source: str, target: str) -> list[str]:
        """Return the command line for this plan, without the name of the program."""
        import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

        opened = ffmpeg.input(source, **self._input())
        streams, settings = [], self._container()
        if self.encoder is not None and self.media.video is not None:
            streams.append(self._pictures(opened[str(self.media.video.index)]))
            settings |= self._encoding(self.last_pass)
        streams += [opened[str(index)] for index in self.carried.indexes]
        settings |= self.carried.options()
        return _compiled(ffmpeg.output(*streams, target, **settings))

    def first_pass(
        self, source: str, after: float = 0.0, options: Mapping[str, str] = NO_OPTIONS
    ) -> list[str]:
        """Return the command line of the first pass over the same pictures as `arguments` or `pictures`."""
        # Of the null format alone, ffmpeg would encode pictures that it drops in the second pass.
        return self.pictures(source, "-", after, {"fps_mode": "vfr", **options, "f": "null"}, number=1)

    def pictures(
        self, source: str, target: str, after: float, options: Mapping[str, str], *, number: int | None = None
    ) -> list[str]:
        """Return the command line that encodes only the pictures, beginning at `after` seconds of the output.

        With two passes it is that of pass `number`. `options` determine how they are written to `target`. If `after` is above 0, the timestamps begin with 0, or with
        `SEEK_MARGIN` if the frame rate is unknown.
        """
        import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

        opened = ffmpeg.input(source, **self._input(max(0.0, after - SEEK_MARGIN)))
        stream = self._pictures(opened[str(self._video.index)])
        settings = self._encoding(number, options)
        settings.pop("tag:v:0", None)  # belongs to the output's container, not to this one
        return _compiled(ffmpeg.output(stream, target, **settings))

    def joined(self, chunks: Mapping[str, str], listed: str, source: str, target: str) -> list[str]:
        """Return the command line that joins encoded pictures with the sound, metadata and chapters of the source.

        The pictures come from the list of chunks `listed`, which is read with the options `chunks`.
        """
        import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

        pictures = ffmpeg.input(listed, **chunks)
        opened = ffmpeg.input(source, **self._input())
        streams, settings = [pictures["v:0"]], self._container() | {"c:v": "copy"}
        if self.request.video_codec == "hevc" and self.request.output_format in ("mp4", "mov"):
            settings["tag:v:0"] = "hvc1"
        carried = self.carried
        streams += [opened[str(index)] for index in carried.indexes]
        settings |= carried.options() | carried.metadata(1)
        # Inserted below if no stream of the source is used: ffmpeg-python omits inputs without streams.
        command = ffmpeg.output(*streams, target, **settings)
        compiled = _compiled(command)
        if not carried.indexes:
            options = [word for name, value in self._input().items() for word in (f"-{name}", value)]
            # Behind the chunks, whose streams and metadata are named by the number 0.
            position = compiled.index("-i") + 2
            compiled[position:position] = [*options, "-i", source]
        return compiled

    def _encoding(self, number: int | None, options: Mapping[str, str] = NO_OPTIONS) -> dict[str, str]:
        """Return the options of the pictures' encoder for pass `number`, None for a single one, with further `options`."""
        encoding = video_options(self.encoder or "", self.request, self._video.depth, self.threads)
        settings = encoding | dict(options)
        if self.on_card:
            del settings["pix_fmt"]  # the pictures are in the card's memory, in the format of the last filter
        return settings if number is None else pass_options(number, settings)

    def _input(self, after: float = 0.0) -> dict[str, str]:
        """Return the options for reading the source from `after` seconds of the output."""
        options = input_options() | {"threads": str(self.threads)}
        if self.on_card:
            options |= dict(card.INPUT)
        if self.request.start + after:
            # As an option of the input, ffmpeg jumps to the key frame before it instead of decoding everything.
            options["ss"] = f"{self.request.start + after:.6f}"
        if self.request.length is not None:
            options["t"] = f"{self.request.length - after:.6f}"
        return options

    def _container(self) -> dict[str, str]:
        form = self.request.output_format
        settings = {"format": MUXERS.get(form, form)}
        # The index goes to the beginning, so that a browser can play before it has loaded the end.
        return settings | ({"movflags": "+faststart"} if form in ("mp4", "mov", "m4a") else {})

    @property
    def carried(self) -> Carried:
        """What the output contains besides its pictures."""
        return Carried(self.request, self.media)

    @property
    def warnings(self) -> list[str]:
        """What the output lacks although the client may expect it, and how to keep it."""
        warnings = self.carried.warnings()
        video = self.media.video
        if self.encoder not in (None, "copy", "gif") and video is not None:
            lost = depth_warning(
                str(self.request.video_codec),
                video.depth,
                retained_depth(self.encoder or ""),
                hdr=video.color is not None,
            )
            warnings = [lost, *warnings] if lost is not None else warnings
        return warnings

    @property
    def pixels(self) -> str:
        """The pixel format of the encoder's pictures."""
        return pixel_format(self.encoder or "", self.media.video.depth if self.media.video else USUAL_DEPTH)

    def reference(self, source: str) -> Any:
        """Return the filter graph from the source to the pictures that are encoded."""
        import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

        return self._shaped(ffmpeg.input(source, **self._input())[str(self._video.index)])

    def counting(self, source: str) -> list[str]:
        """Return the command line that counts the pictures of the output, decoding but not encoding them."""
        import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

        command = ffmpeg.output(
            self.reference(source), "-", f="null", fps_mode="vfr", **{"c:v": "wrapped_avframe"}
        )
        return _compiled(command)

    def decoding(self, source: str) -> list[str]:
        """Return the command line that only decodes the pictures and the sound of the output, on the processor."""
        import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

        sounds = self.carried.sounds if self.request.sound_codec != "copy" else ()
        opened = ffmpeg.input(source, **self._input())
        streams = [
            replace(self, on_card=False).reference(source),
            *(opened[str(sound.index)] for sound in sounds),
        ]
        codecs = {"c:v": "wrapped_avframe", "c:a": "pcm_s16le"}
        return _compiled(ffmpeg.output(*streams, "-", f="null", fps_mode="vfr", **codecs))

    def _pictures(self, stream: Any) -> Any:
        """Return the filter graph from the decoded pictures to the encoder."""
        if self.encoder == "copy":
            return stream
        stream = self._shaped(stream)
        if self.encoder == "gif":
            pair = stream.filter_multi_output("split")
            # A palette for each picture: a common one would need the whole video in memory.
            palette = pair[0].filter("palettegen", stats_mode="single")
            stream = _with_palette(pair[1], palette)
        return stream

    def _shaped(self, stream: Any) -> Any:
        """Return the filter graph from the decoded pictures to those of the requested size, rate and color."""
        request, video = self.request, self._video
        if self.on_card:
            return card.scaled(stream, request, video, self.pixels)
        odd = video.width % 2 or video.height % 2
        if not video.square_pixels or (odd and request.size is None):
            stream = stream.filter("scale", "trunc(iw*sar/2)*2", "trunc(ih/2)*2").filter("setsar", "1")
        if request.size is not None:
            stream = _fit(stream, request.size, request.fit)
        if (fps := self.fps) is not None:
            stream = stream.filter("fps", f"{fps:g}")
        if (color := self.converted_color) is not None:
            stream = _tone_mapped(stream, color)
        return stream

    @property
    def fps(self) -> float | None:
        """Pictures per second of the output; None for those of the source."""
        return self.request.fps or (GIF_FPS if self.encoder == "gif" else None)


def _fit(stream: Any, size: tuple[int, int], fit: str) -> Any:
    width, height = size
    if fit == "stretch":
        stream = stream.filter("scale", width, height)
    else:
        shape = {"force_original_aspect_ratio": "decrease", "force_divisible_by": 2}
        stream = stream.filter("scale", width, height, **shape)
    if fit == "pad":
        stream = stream.filter("pad", width, height, "(ow-iw)/2", "(oh-ih)/2")
    return stream.filter("setsar", "1")


def _tone_mapped(stream: Any, color: Color) -> Any:
    """Convert HDR to SDR. The filter works on linear light in 32-bit numbers, and needs the pictures' final size."""
    light = stream.filter(
        "zscale", tin=color.transfer, pin=color.primaries, min=color.matrix, t="linear", npl=DIFFUSE_WHITE
    )
    # Tone mapping in integers shows bands in dark scenes.
    light = light.filter("format", "gbrpf32le").filter("zscale", p="bt709")
    # "hable" keeps detail in highlights. Without `desat=0`, bright colours turn white.
    mapped = light.filter("tonemap", "hable", desat=0)
    for name in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):  # they describe the HDR
        mapped = mapped.filter("sidedata", "delete", name)
    return mapped.filter("zscale", t="bt709", m="bt709", r="tv").filter("format", "yuv420p")


def _with_palette(stream: Any, palette: Any) -> Any:
    import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

    return ffmpeg.filter([stream, palette], "paletteuse", new=1)


def _compiled(output: Any) -> list[str]:
    import ffmpeg  # noqa: PLC0415 - the coordinator imports this module without the engine

    arguments: list[str] = ffmpeg.get_args(output)
    return arguments


def report(
    plan: Plan, context: Context, after: float = 0.0, part: tuple[float, float] = (0.0, 1.0)
) -> Callable[[str], None]:
    """Return a listener for the lines of `-progress` of a run that begins at `after` seconds. It reports at most 99 percent.

    `part` are the shares of the work at which the run begins and ends, if it is one of several passes.
    """
    duration = max(0.0, plan.seconds - after)

    def listen(line: str) -> None:
        key, _, value = line.partition("=")
        # Before the first picture, ffmpeg prints "N/A", and negative times for pictures that precede the start.
        if key == "out_time_us" and value.strip().isdigit():
            position = min(int(value) / 1e6, duration)
            seconds = after + duration * part[0] + position * (part[1] - part[0])
            units = round(Decimal(str(seconds)) * plan.megapixels, 6)
            context.progress(min(99.0, 100 * seconds / plan.seconds), units)

    return listen
