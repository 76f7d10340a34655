"""Speech to text with Whisper and Parakeet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from runners.activity import working
from runners.api import (
    Audited,
    AuditResult,
    Benchmark,
    Checkpoints,
    Condition,
    Context,
    Fail,
    FailureCode,
    Model,
    Probe,
    Requirements,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    SoldUnit,
    Tools,
)
from runners.extras import extra_command, version_of
from runners.ffmpeg.process import (
    INPUT,
    generate,
    input_words,
    inspect,
    job_limits,
    missing_programs,
    run_ffmpeg,
)
from runners.model_errors import not_loaded
from runners.sandbox import Sandbox, unavailable
from runners.torch_memory import release_memory
from runners.whisper import audit
from runners.whisper.base import SAMPLE_RATE, TranscriptionEngine, weights
from runners.whisper.comparison import Span
from runners.whisper.engines import ENGINES, choose, installed, lacking, later, open_engine
from runners.whisper.form import FORM
from runners.whisper.parts import PART_FILES, PartWriter, Resumed, resume
from runners.whisper.request import UNDETERMINED, Engine, TranscribeRequest, TranscribeResult
from runners.whisper.subtitles import write

if TYPE_CHECKING:
    from runners.whisper.base import Samples

MAX_SECONDS = 6 * 3600
"""Longest audio of one job, in seconds; its samples and spectrogram are in memory (0.5 GB per hour)."""

BENCHMARK_TEXT = (
    "The machine that processes this sentence is being measured. It listens to a short passage of plain speech and writes "
    "down what was said as quickly as it can. Then it does so again and again until the figures agree. Music or "
    "silence would not do because a model that finds no words to write is done in a fraction of the time that real "
    "speech takes."
)
"""About 20 seconds when spoken; without punctuation that has a meaning in ffmpeg's filter syntax."""

BENCHMARK_VOICE = "rms"
"""A voice that the smallest model understands word for word; other passages are decoded several times."""

CALIBRATION_VOICES = ("rms", "slt", "awb", "kal16")
"""Voices of a calibration. Not all are understood word for word."""

DEFINITION = ServiceDefinition(
    service_id="whisper_transcription",
    name="Whisper transcription",
    category="audio",
    description="Turns speech into text with times, or into subtitles, and can translate it to English.",
    tags=("whisper", "parakeet", "speech", "audio", "transcription", "translation", "subtitles"),
    unit="audio second",
    sale_units=(
        SoldUnit("second of audio", "seconds of audio", Decimal(1)),
        SoldUnit("minute of audio", "minutes of audio", Decimal(60)),
        SoldUnit("hour of audio", "hours of audio", Decimal(3600)),
    ),
    determinism="The text may differ in single words between engines and devices, and with a temperature above 0.",
    input_model=TranscribeRequest,
    form=FORM,
    output_model=TranscribeResult,
    requirements=Requirements(gpu="optional", vram=2**30, memory=2 * 2**30, disk=2**30),
    route="whisper/transcribe",
    model_field="model",
    needs=lambda request: [("engines", request["engine"])] if request.get("engine") else [],
    checkpoints=Checkpoints("segments", PART_FILES),
    comparer=audit.COMPARER,
    unprovable=audit.unprovable,
)


class WhisperRunner(Runner[TranscribeRequest]):
    """Performs `whisper_transcription`. One model in one engine is loaded at a time."""

    definition = DEFINITION
    name = "whisper"
    version = "0.2.0"
    sandboxed = True

    _engine: TranscriptionEngine | None = None
    _engine_name: Engine = ENGINES[0]
    _model: Model | None = None

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Finds packages without importing them, and tests the sandbox."""
        if reasons := _missing(tools):
            return Probe(available=False, reasons=tuple(reasons))
        engines = [name for name in ENGINES if installed(name)]
        versions = tuple(map(_engine_version, engines))
        hint = f"For more speed install faster-whisper: {extra_command('faster-whisper')}."
        return Probe(
            available=True,
            version=versions[0],
            versions=versions,
            reasons=() if "faster-whisper" in engines else (hint,),
            features={"engines": engines},
        )

    @classmethod
    def engines(cls, model: Model) -> tuple[str, ...]:
        """See `Runner.engines`: those whose format the model is in."""
        present = [name for name in get_args(Engine) if weights(name, model)]
        return tuple(name for name in model.engines if name in present)

    def load(self, model: Model | None) -> None:
        """Load a model into the best engine for its files; `run` changes the engine if a request names the other."""
        self.close()
        if model is not None:
            self._open(choose(model, self.device), model)

    def run(self, request: TranscribeRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with INPUT_INVALID for a file without audio."""
        samples = self._decode(context)
        duration = round(len(samples) / SAMPLE_RATE, 3)
        context.progress(0)
        engine = self._engine_for(request)
        context.check()
        resumed = resume(request, context, duration)
        report = _Report(
            context,
            duration,
            resumed,
            PartWriter(request, context, resumed, duration, self.tools.checkpoint_seconds),
        )
        name = self._engine_name
        context.log(f"Model {request.model} in {name} {version_of(name)} on {self.device.words}.", name)
        if resumed.parts:
            context.log(
                f"An earlier run has transcribed the first {resumed.until:.1f} s; the rest follows.", name
            )
        began = time.monotonic()
        with working(context, self.device):
            language = _transcribe_rest(engine, samples, request, resumed, report)
        if request.language is None and language != UNDETERMINED:
            context.log(f"The language was detected: {language}.", name)
        _log_end(context, name, duration - resumed.until, time.monotonic() - began, len(report.segments))
        context.check()
        results: dict[str, Any] = {
            "text": report.text.strip(),
            "language": language,
            "duration": duration,
            "segments": report.segments,
        }
        if resumed.parts:
            results["resumed_until"] = resumed.until
        files = [write(context.output, form, results) for form in request.output_formats]
        evidence = {"engine": name, "precision": engine.precision}
        return Result({**results, "files": files}, Decimal(str(duration)), evidence)

    def audit(self, request: TranscribeRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`."""
        samples = self._decode(context)
        context.progress(1)
        engine = self._engine_for(request)
        condition = Condition(self._engine_name, engine.precision, self.device.category)

        def transcribe(start: float, end: float) -> audit.Transcribed:
            listener = _Listener(context, start, end - start)
            part = samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
            engine.transcribe(part, request, listener)
            return audit.Transcribed(listener.segments, listener.spans)

        duration = round(len(samples) / SAMPLE_RATE, 3)
        with working(context, self.device):
            return audit.audit(request, audited, duration, transcribe, condition)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:
        """See `Runner.benchmark`: a passage spoken by ffmpeg. Raises `Retry` if this build has no voice."""
        voice = ("-f", "lavfi", "-i", f"flite=voice={BENCHMARK_VOICE}:text='{BENCHMARK_TEXT}'")
        speech = generate(tools, directory / "speech.wav", *voice, "-ar", str(SAMPLE_RATE))
        return Benchmark(
            parameters={"audio_url": "artifact:benchmark", "language": "en"},
            metric="audio second/s",
            files={"audio_url": speech},
        )

    @classmethod
    def calibration(cls, tools: Tools, directory: Path) -> Sequence[Benchmark]:
        """See `Runner.calibration`: the passage of the benchmark in several voices. Raises `Retry` if this build has no voice."""
        benchmarks = []
        for voice in CALIBRATION_VOICES:
            spoken = ("-f", "lavfi", "-i", f"flite=voice={voice}:text='{BENCHMARK_TEXT}'")
            speech = generate(tools, directory / f"{voice}.wav", *spoken, "-ar", str(SAMPLE_RATE))
            parameters = {"audio_url": "artifact:calibration", "language": "en"}
            benchmarks.append(Benchmark(parameters, "audio second/s", files={"audio_url": speech}))
        return benchmarks

    def weights(self, model: Model) -> tuple[Path, ...]:
        """See `Runner.weights`: the files that the loaded engine has read, or would read."""
        if self._engine is not None and self._model == model:
            return self._engine.weights
        return weights(choose(model, self.device), model)

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return _engine_version(self._engine_name)

    def close(self) -> None:
        """See `Runner.close`."""
        self._engine = self._model = None
        release_memory(self.device)

    def _open(self, engine: Engine, model: Model) -> None:
        self.close()
        self._engine = open_engine(engine, model, self.device)
        self._engine_name, self._model = engine, model

    def _engine_for(self, request: TranscribeRequest) -> TranscriptionEngine:
        model = self._model
        if model is None or model.name != request.model:
            # A benchmark runs without a `load` before.
            model = Model(request.model, self.tools.models_dir / request.model)
        loaded = self._engine is not None and self._model == model
        if not loaded or request.engine not in (None, self._engine_name):
            if request.engine is not None and (reason := lacking(request.engine, self.device)) is not None:
                raise Retry(reason, code=FailureCode.ENGINE_UNAVAILABLE)
            self._open(request.engine or choose(model, self.device), model)
        if self._engine is None:
            raise not_loaded(request.model)
        return self._engine

    def _decode(self, context: Context) -> Samples:
        """Return the input's sound as samples, decoded by ffmpeg in the sandbox."""
        import numpy as np  # noqa: PLC0415 - the coordinator imports this module without the engine

        source = context.files["audio_url"]
        media = inspect(self.tools, source, context)
        if media.audio is None:
            raise Fail("The input has no audio stream.")
        if media.duration is not None and media.duration > MAX_SECONDS:
            raise Fail(f"The audio is longer than {MAX_SECONDS // 3600} hours; split it into parts.")
        sandbox = Sandbox(self.tools, job_limits(self.tools, self.device, context.timeout_seconds))
        decoded = context.work / "samples.raw"
        target = f"{sandbox.write(context.work, '/work')}/{decoded.name}"
        path = sandbox.read(source, INPUT)
        selection = ["-map", f"0:{media.audio.index}", "-t", str(MAX_SECONDS)]
        form = ["-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le"]
        run_ffmpeg(sandbox, [*input_words(), "-i", path, *selection, *form, target], context)
        if not decoded.is_file() or decoded.stat().st_size == 0:
            raise Fail("The input's audio is empty.")
        # The engines take samples between -1 and 1.
        samples: Samples = np.fromfile(decoded, dtype=np.int16).astype(np.float32) / 32768.0
        decoded.unlink()
        if len(samples) < SAMPLE_RATE / 1000:  # its duration is stated in milliseconds
            raise Fail("The input's audio is shorter than a millisecond.")
        return samples


def _log_end(context: Context, source: str, audio: float, seconds: float, segments: int) -> None:
    seconds = max(seconds, 0.001)
    context.log(f"{audio:.1f} s of audio in {seconds:.1f} s: {audio / seconds:.1f} audio second/s.", source)
    if not segments:
        context.log("Warning: no speech was recognised.", source)


def _transcribe_rest(
    engine: TranscriptionEngine,
    samples: Samples,
    request: TranscribeRequest,
    resumed: Resumed,
    report: _Report,
) -> str:
    """Transcribe the remaining after earlier runs, in their language. Return the code of the language."""
    if not resumed.parts or resumed.language is None:
        return engine.transcribe(samples, request, report)
    report.repeat()
    remaining = samples[round(resumed.until * SAMPLE_RATE) :]
    if not len(remaining):
        return resumed.language
    language = request.language if resumed.language == UNDETERMINED else resumed.language
    return engine.transcribe(remaining, request.model_copy(update={"language": language}), report)


class _Listener:
    """Collects the segments of a window that begins at `start` and lasts `duration`, in seconds."""

    def __init__(self, context: Context, start: float, duration: float) -> None:
        self.segments: list[Mapping[str, Any]] = []
        self.spans: list[Span] = []
        self._context = context
        self._start = start
        self._duration = duration

    def reached(self, seconds: float, language: str | None) -> None:  # noqa: ARG002 - the interface
        self._progress(seconds)

    def _progress(self, seconds: float) -> None:
        self._context.check()
        transcribed = min(seconds, self._duration)
        percent = min(99.0, 100 * transcribed / self._duration)
        self._context.progress(percent, Decimal(str(round(transcribed, 3))))

    def segment(self, segment: Mapping[str, Any], text: str) -> None:  # noqa: ARG002 - as above
        self._context.check()
        self.segments.append(later(segment, self._start))

    def doubtful(self, start: float, end: float) -> None:
        self.spans.append((self._start + start, self._start + end))


class _Report(_Listener):
    """Reports an engine's progress to the job. The engine's times begin where earlier runs ended.

    `text` is the transcript so far, with the spaces between segments.
    """

    def __init__(self, context: Context, duration: float, resumed: Resumed, parts: PartWriter) -> None:
        super().__init__(context, resumed.until, duration)
        self.text = resumed.text
        self._resumed = resumed
        self._parts = parts

    def reached(self, seconds: float, language: str | None) -> None:
        self._progress(self._resumed.until + seconds)
        self._parts.border(self._resumed.until + seconds, language)

    def segment(self, segment: Mapping[str, Any], text: str) -> None:
        self._context.check()
        moved = later(segment, self._resumed.until)
        space = text[: len(text) - len(text.lstrip())]
        self._publish(moved, len(f"{self.text}{space}".lstrip()))
        self.text += text
        self._parts.segment(moved, text)

    def doubtful(self, start: float, end: float) -> None:
        """Note nothing: only an audit needs to know it."""

    def repeat(self) -> None:
        """Publish the segments of earlier runs: each run's events make a whole transcript."""
        text = self._resumed.text.lstrip()
        offset = 0
        for segment in self._resumed.segments:
            # The text has spaces between segments, of which only the text itself knows how many.
            offset = max(offset, text.find(segment["text"], offset))
            self._publish(segment, offset)
            offset += len(segment["text"])

    def _publish(self, segment: Mapping[str, Any], offset: int) -> None:
        """Publish a segment whose text begins after `offset` characters of the transcript."""
        self.segments.append(segment)
        times_and_text = {key: segment[key] for key in ("start", "end", "text")}
        self._context.event("segment", {**times_and_text, "offset": offset})


def _missing(tools: Tools) -> list[str]:
    """Return this machine's missing requirements as sentences for its owner."""
    command = extra_command("faster-whisper")
    neither = f"Neither faster-whisper nor openai-whisper is installed; install the former: {command}."
    engines = [] if any(installed(engine) for engine in ENGINES) else [neither]
    return [*engines, *missing_programs(tools), *filter(None, [unavailable(tools)])]


def _engine_version(engine: Engine) -> str:
    return f"{engine}-{version_of(engine)}"
