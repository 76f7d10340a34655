"""Video and audio transcoding with ffmpeg, on NVENC where the card has it.

ffmpeg-python composes the command lines; the process itself runs in the sandbox, because its input is untrusted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import (
    Audited,
    AuditResult,
    Benchmark,
    Checkpoints,
    Context,
    Fail,
    FailureCode,
    OutputFile,
    Probe,
    Requirements,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    SoldUnit,
    TimedOut,
    Tools,
)
from runners.ffmpeg.chunks import CHUNK_FILES, chunk_seconds, encode_in_chunks
from runners.ffmpeg.comparer import COMPARER, TranscodeAudit
from runners.ffmpeg.encoders import SOFTWARE, choose, converts_hdr, software, version, working
from runners.ffmpeg.form import FORM
from runners.ffmpeg.plan import FIRST_PASS, SOUND_WEIGHT, Plan, report
from runners.ffmpeg.process import (
    INPUT,
    Media,
    generate,
    inspect,
    job_limits,
    job_sandbox,
    last_timestamp,
    missing_programs,
    run_ffmpeg,
)
from runners.ffmpeg.request import MEDIA_TYPES, TranscodeRequest, TranscodeResult
from runners.ffmpeg.sessions import session
from runners.sandbox import Sandbox, level, unavailable

BENCHMARK_SIZE = (1280, 720)
BENCHMARK_FPS = 30
BENCHMARK_SECONDS = 4
"""The clip of the benchmark: long enough to outweigh the start of ffmpeg, short enough for a slow processor."""


CALIBRATION_SIZE = (426, 240)
CALIBRATION_SECONDS = 9
"""The clip of a calibration: longer than the window of an audit with what is encoded before it."""


def _size(parameters: Mapping[str, Any]) -> str:
    """Return what determines the GPU memory, as far as the request shows it."""
    return f"{parameters.get('codec') or ''}/{parameters.get('resolution') or ''}"


def _needs(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the encoder that a request needs."""
    codec = parameters.get("codec")
    return [("encoders", codec)] if isinstance(codec, str) and codec in SOFTWARE else []


DEFINITION = ServiceDefinition(
    service_id="video_transcoding",
    name="FFmpeg transcoding",
    category="media",
    description="Converts, shrinks or cuts video and sound, into files that play where you need them.",
    tags=("ffmpeg", "video", "audio", "transcode", "nvenc", "h264", "hevc", "av1", "vp9"),
    unit="output second-megapixel",
    # Megapixels of 1920x1080.
    sale_units=(
        SoldUnit("second of 1080p", "seconds of 1080p", Decimal("2.0736")),
        SoldUnit("minute of 1080p", "minutes of 1080p", Decimal("124.416")),
    ),
    determinism=(
        "Duration, size and codec are the same each time; the bytes may differ between versions of ffmpeg, between "
        "encoders, and with the number of threads."
    ),
    input_model=TranscodeRequest,
    form=FORM,
    output_model=TranscodeResult,
    requirements=Requirements(gpu="optional", vram=2**30, memory=2 * 2**30, disk=2 * 2**30),
    route="ffmpeg/transcode",
    size=_size,
    needs=_needs,
    checkpoints=Checkpoints("chunks", CHUNK_FILES),
    comparer=COMPARER,
)


class FFmpegRunner(Runner[TranscodeRequest]):
    """Performs `video_transcoding`. It has no models; each run is one process of ffmpeg."""

    definition = DEFINITION
    name = "ffmpeg"
    version = "0.2.0"
    sandboxed = True

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Starts ffmpeg, ffprobe and, where the build lists NVENC, encodes one frame for each codec."""
        missing = next(iter(missing_programs(tools)), None) or unavailable(tools)
        if missing is not None:
            return Probe(available=False, reasons=(missing,))
        try:
            release = version(tools, tools.ffmpeg)
            version(tools, tools.ffprobe)
            encoders = working(tools)
        except TimedOut:
            raise
        except Retry as error:
            return Probe(available=False, reasons=(f"{error} Check runners.ffmpeg and runners.ffprobe.",))
        if not encoders:
            reason = "This ffmpeg has no supported video encoder; install a complete build (apt-get install ffmpeg)."
            return Probe(available=False, version=release, reasons=(reason,))
        lacking = [codec for codec in ("h264", "hevc", "av1", "vp9") if codec not in encoders]
        reasons = [f"This ffmpeg cannot encode {codec}; a complete build can." for codec in lacking]
        if not converts_hdr(tools):
            reasons.append(
                "This ffmpeg cannot convert HDR to SDR (filters zscale and tonemap); a complete build can."
            )
        features = {"encoders": encoders, "sandbox": level(tools)}
        return Probe(available=True, version=release, reasons=tuple(reasons), features=features)

    def run(self, request: TranscodeRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with INPUT_INVALID, OUTPUT_TOO_LARGE or TIMEOUT, `Retry` for this machine."""
        source = context.files["input_url"]
        media = inspect(self.tools, source, context)
        plan = self._plan(request, media, source, context)
        # Before hours of work: an encoder that runs out of memory says so only when its pipeline is full.
        plan.require_memory(self.tools.max_memory)
        if plan.converted_color is not None and not converts_hdr(self.tools):
            raise Retry(
                "This machine's ffmpeg cannot convert HDR to SDR: it lacks the filters zscale and tonemap.",
                code=FailureCode.ENCODER_UNAVAILABLE,
            )
        for warning in plan.warnings:
            context.log(warning, "ffmpeg")
        context.check()
        kind = "video" if request.has_video else "audio"
        output = context.output / f"{kind}.{request.output_format}"
        with (
            session(self.tools, context, wait=request.hardware == "required")
            if plan.uses_card
            else nullcontext(True) as free
        ):
            plan, resumed_until = self._encode_somehow(
                self._attempts(plan, free_session=free), source, output, context
            )
        context.check()
        if not output.is_file() or output.stat().st_size == 0:
            raise Fail("The output is empty: the selected part of the input contains no pictures or sound.")
        return _result(plan, inspect(self.tools, output, context), output, resumed_until)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:
        """See `Runner.benchmark`: 720p to H.264. Raises `Retry` if the clip cannot be made."""
        width, height = BENCHMARK_SIZE
        picture = f"testsrc2=size={width}x{height}:rate={BENCHMARK_FPS}:duration={BENCHMARK_SECONDS}"
        # MPEG-4 part 2 is in every build and cheap to decode, so that the encoder dominates the benchmark.
        codec = ("-c:v", "mpeg4", "-q:v", "4", "-pix_fmt", "yuv420p")
        clip = generate(tools, directory / "clip.mkv", "-f", "lavfi", "-i", picture, *codec)
        return Benchmark(
            parameters={"input_url": "artifact:benchmark", "codec": "h264", "audio_codec": "none"},
            metric="fps",
            files={"input_url": clip},
            scale=Decimal(BENCHMARK_FPS * 1_000_000) / (width * height),
        )

    @classmethod
    def calibration(cls, tools: Tools, directory: Path) -> Sequence[Benchmark]:
        """See `Runner.calibration`: a clip with sound to each codec, to a bitrate and another frame rate, and to sound only."""
        width, height = CALIBRATION_SIZE
        sources = (
            f"mandelbrot=size={width}x{height}:rate={BENCHMARK_FPS}:end_scale=0.02",
            "sine=frequency=300:beep_factor=4",
        )
        inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
        codecs = ("-c:v", "mpeg4", "-q:v", "2", "-pix_fmt", "yuv420p", "-c:a", "flac")
        clip = generate(
            tools, directory / "calibration.mkv", *inputs, *codecs, "-t", str(CALIBRATION_SECONDS)
        )
        codecs_here = [codec for codec in ("h264", "hevc", "vp9", "av1") if codec in working(tools)]
        requests: list[dict[str, Any]] = [{"codec": codec} for codec in codecs_here]
        requests.append({"codec": "h264", "bitrate": "600k", "fps": 25})
        requests.append({"output_format": "mp3"})
        return [
            Benchmark({"input_url": "artifact:calibration", **request}, "fps", {"input_url": clip})
            for request in requests
        ]

    def audit(self, request: TranscodeRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`. The auditor encodes on the processor, so that its own pictures do not depend on its card."""
        source = context.files["input_url"]
        media = inspect(self.tools, source, context)
        software_only = request.model_copy(update={"hardware": "off"})
        audit = TranscodeAudit(
            self.tools,
            self.device,
            software_only,
            audited,
            context,
            plan_of=lambda part: self._plan(part, media, source, context),
            run=self.run,
        )
        return AuditResult(*audit.compare())

    def _plan(self, request: TranscodeRequest, media: Media, source: Path, context: Context) -> Plan:
        if request.has_video and media.video is None:
            raise Fail("The input has no video stream; choose an audio output_format such as 'mp3'.")
        if not request.has_video and media.audio is None:
            raise Fail("The input has no audio stream.")
        leading = (media.video if request.has_video else None) or media.audio
        duration = media.duration
        if duration is None and leading is not None:
            duration = last_timestamp(self.tools, source, context, leading)
        if not duration or duration <= 0:
            raise Fail("The input has no duration: it contains no pictures or sound to convert.")
        if request.start >= duration:
            raise Fail(f"start ({request.start:g} s) is not before the end of the input ({duration:.3f} s).")
        seconds = min(request.length or duration, duration - request.start)
        plan = Plan(request, media, seconds, None, max(1, self.device.threads))
        if media.video is None or not request.has_video:
            return plan
        encoder = choose(self.tools, self.device, request, plan.size, media.video.depth)
        return replace(plan, encoder=encoder)

    def _attempts(self, plan: Plan, *, free_session: bool) -> list[Plan]:
        """Return the plan and what replaces it if the card fails: it may be out of sessions, or lack a decoder."""
        if not plan.uses_card:
            return [plan]
        attempts = [replace(plan, on_card=True), plan] if plan.fits_card else [plan]
        if plan.request.hardware == "required":
            return attempts
        on_processor = replace(plan, encoder=software(self.tools, plan.request.video_codec or ""))
        # Without a free session the card would refuse, after the input was opened for nothing.
        return [*attempts, on_processor] if free_session else [on_processor]

    def _encode_somehow(
        self, attempts: Sequence[Plan], source: Path, output: Path, context: Context
    ) -> tuple[Plan, float]:
        """Return the first plan that does not fail on the card, and the result of `_encode` with it."""
        for plan in attempts[:-1]:
            try:
                return plan, self._encode(plan, source, output, context)
            except Retry as error:
                # Anything else would fail in the same way on the processor.
                if error.code != FailureCode.HARDWARE_FAILED:
                    raise
                context.log(f"{error} It is tried in another way.", "ffmpeg")
        try:
            return attempts[-1], self._encode(attempts[-1], source, output, context)
        except Retry as error:
            if error.code == FailureCode.HARDWARE_FAILED:
                context.log(f"{error} Whether the input is damaged is checked on the processor.", "ffmpeg")
                self._require_decodable(attempts[-1], source, context)
            raise

    def _require_decodable(self, plan: Plan, source: Path, context: Context) -> None:
        """Raise `Fail` if the processor cannot decode the input either: a damaged file must not make each miner's card look faulty."""
        sandbox = Sandbox(self.tools, job_limits(self.tools, self.device, context.timeout_seconds))
        run_ffmpeg(sandbox, plan.decoding(sandbox.read(source, INPUT)), context)

    def _encode(self, plan: Plan, source: Path, output: Path, context: Context) -> float:
        """Write the file `output`. Return the second up to which its pictures come from an earlier run, 0 without one."""
        length = chunk_seconds(plan.request, plan.encoder, plan.seconds)
        if length is None:
            self._convert(plan, source, output, context)
            return 0.0
        return encode_in_chunks(self.tools, self.device, plan, length, source, output, context)

    def _convert(self, plan: Plan, source: Path, output: Path, context: Context) -> None:
        began = time.monotonic()
        scratch = context.work / "passes"
        scratch.mkdir(exist_ok=True)

        def run(arguments: Callable[[Sandbox, str], list[str]], part: tuple[float, float]) -> None:
            sandbox = job_sandbox(self.tools, self.device, context, began)
            directory = sandbox.write(scratch, "/passes")
            words = arguments(sandbox, sandbox.read(source, INPUT))
            listener = report(plan, context, part=part)
            run_ffmpeg(
                sandbox, words, context, on_line=listener, hardware=plan.uses_card, directory=directory
            )

        first = FIRST_PASS if plan.last_pass is not None else 0.0
        if first:
            run(lambda _, inside: plan.first_pass(inside), (0.0, first))
        run(
            lambda sandbox, inside: plan.arguments(
                inside, f"{sandbox.write(context.output, '/output')}/{output.name}"
            ),
            (first, 1.0),
        )


def _result(plan: Plan, media: Media, output: Path, resumed_until: float) -> Result:
    request = plan.request
    stream = (media.video if request.has_video else None) or media.audio
    if stream is None or media.duration is None:
        raise Fail("The output is empty: the selected part of the input contains no pictures or sound.")
    duration = round(media.duration, 6)
    has_pictures = stream.kind == "video"
    weight = Decimal(stream.width * stream.height) / 1_000_000 if has_pictures else SOUND_WEIGHT
    results = {
        "file": OutputFile(output, MEDIA_TYPES[request.output_format], output.name),
        "duration": duration,
        "width": stream.width if has_pictures else None,
        "height": stream.height if has_pictures else None,
        "codec": stream.codec,
    }
    if has_pictures:
        results["encoder"] = plan.encoder
    if plan.warnings:
        results["warnings"] = plan.warnings
    if resumed_until:
        results["resumed_until"] = round(resumed_until, 6)
    return Result(results, round(Decimal(str(duration)) * weight, 6))
