"""Text to speech, passage by passage."""

from __future__ import annotations

import base64
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runners.activity import working
from runners.api import (
    Audited,
    AuditResult,
    Benchmark,
    Condition,
    Context,
    Device,
    Fail,
    Model,
    OutputFile,
    Probe,
    Requirements,
    Result,
    Runner,
    ServiceDefinition,
    SoldUnit,
    Tools,
)
from runners.extras import extra_command, version_of
from runners.ffmpeg.sound import decode
from runners.model_errors import not_loaded
from runners.speech import audit, likeness
from runners.speech.base import ENGINES, SpeechEngine, SpeechModel, chosen_voice
from runners.speech.engines import EXTRAS, choose, installed, open_engine, weights
from runners.speech.form import FORM
from runners.speech.passages import passages
from runners.speech.request import SynthesisRequest, SynthesisResult
from runners.speech.sound import FORMS, RATE, SoundFile, floats, resampled
from runners.torch_memory import memory_faults

if TYPE_CHECKING:
    from runners.speech.base import Samples

PAUSE_SECONDS: Final = 0.25
"""The pause between two passages at speed 1."""

END_SECONDS: Final = 0.5
"""The silence after the last passage: without it, players and programs that transcribe lose the last words."""

PIECE: Final = 32 * 1024
"""Bytes of sound in one event; several become one message to the coordinator."""

PRECISION: Final = "as stored"
"""Audits distinguish models by the digests of their weights, which are computed with in the type in which they are stored."""

BENCHMARK_TEXTS: Final = (
    "The machine that speaks this passage is being measured. It reads two sentences, and nobody listens.",
    "A steam engine turns heat into motion: water boils, and its steam pushes a piston.",
    "No ship has left the port today. The lamps are lit, and at 9 o'clock the watchman goes home.",
)
"""What a machine says in a benchmark (the first) and in a calibration (all)."""


DEFINITION = ServiceDefinition(
    service_id="speech_synthesis",
    name="Speech synthesis",
    category="audio",
    description="Reads a text aloud, with the voice and at the speed that you choose.",
    tags=("speech", "voice", "text to speech", "tts", "audio", "kokoro", "piper"),
    unit="character",
    sale_units=(
        SoldUnit("character", "characters", Decimal(1)),
        SoldUnit("1,000 characters", "thousand characters", Decimal(1000)),
        SoldUnit("million characters", "million characters", Decimal(1_000_000)),
    ),
    determinism="The words and the voice are the same, the pace and the sound differ a little each time.",
    input_model=SynthesisRequest,
    form=FORM,
    output_model=SynthesisResult,
    requirements=Requirements(gpu="unused", memory=2**29, disk=2**29),
    route="speech/synthesize",
    model_field="model",
    units=lambda request: Decimal(len(request["input"])),
    title=lambda request, _: request["input"],
    comparer=audit.COMPARER,
)


class SpeechRunner(Runner[SynthesisRequest]):
    """Performs `speech_synthesis` on the processor. One model is loaded at a time."""

    definition = DEFINITION
    name = "speech"
    version = "0.1.0"

    _loaded: SpeechModel | None = None
    _model: Model | None = None
    _engine_name: SpeechEngine = ENGINES[0]

    @classmethod
    def probe(cls, tools: Tools) -> Probe:  # noqa: ARG003 - it needs no programs
        """See `Runner.probe`. Finds packages without importing them."""
        engines = [engine for engine in ENGINES if installed(engine)]
        if not engines:
            commands = " or ".join(f"{engine}: {extra_command(extra)}" for engine, extra in EXTRAS.items())
            return Probe(
                available=False, reasons=(f"No engine that speaks is installed; install {commands}.",)
            )
        versions = tuple(map(_engine_version, engines))
        return Probe(
            available=True,
            version=versions[0],
            versions=versions,
            features={"engines": engines},
            kinds=dict.fromkeys(engines, ("cpu",)),
        )

    @classmethod
    def engines(cls, model: Model) -> tuple[str, ...]:
        """See `Runner.engines`: those whose format the model is in."""
        present = [engine for engine in ENGINES if weights(engine, model)]
        return tuple(engine for engine in model.engines if engine in present)

    def load(self, model: Model | None) -> None:
        """See `Runner.load`."""
        self.close()
        if model is not None:
            engine = choose(model)
            self._loaded = open_engine(engine, model, self.device)
            self._engine_name, self._model = engine, model

    def run(self, request: SynthesisRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` for a voice or a language that the model does not have."""
        loaded, model = self._ready(request)
        voice = chosen_voice(request.voice, model, loaded.voices)
        form = FORMS[request.output_format]
        path = context.output / f"speech.{form.suffix}"
        events = _AudioEvents(context)
        began = time.monotonic()
        context.log(
            f"Model {request.model} in {_engine_version(self._engine_name)}, voice {voice}.",
            self._engine_name,
        )
        segments: list[dict[str, Any]] = []
        file = SoundFile(
            path, request.output_format, loaded.sample_rate, events.add if request.stream else None
        )
        with closing(file), memory_faults(), working(context, self.device):
            for samples, text in self._spoken(loaded, request, voice, context):
                if segments:
                    file.add(_silence(loaded.sample_rate, PAUSE_SECONDS / request.speed))
                start = file.seconds
                file.add(samples)
                segments.append({"start": round(start, 3), "end": round(file.seconds, 3), "text": text})
                events.send()
            file.add(_silence(loaded.sample_rate, END_SECONDS))
            file.finish()
        events.send()
        seconds = max(time.monotonic() - began, 0.001)
        context.log(
            f"{file.seconds:.1f} s of speech in {seconds:.1f} s: {len(request.input) / seconds:.0f} character/s.",
            self._engine_name,
        )
        results = {
            "audio": OutputFile(path, form.media_type, path.name),
            "duration": round(file.seconds, 3),
            "sample_rate": RATE,
            "voice": voice,
            "segments": segments,
        }
        evidence = {"engine": self._engine_name, "precision": PRECISION}
        return Result(results, Decimal(len(request.input)), evidence)

    def audit(self, request: SynthesisRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`."""
        loaded, model = self._ready(request)
        voice = chosen_voice(request.voice, model, loaded.voices)
        name = f"speech.{FORMS[request.output_format].suffix}"
        file = audited.files.get(name)

        def speak(text: str) -> Samples:
            context.check()
            spoken = loaded.speak(text, voice, request.speed, request.language)
            return resampled(spoken, loaded.sample_rate, likeness.RATE)

        def cut(start: float, end: float) -> Samples:
            context.check()
            if file is None:
                raise Fail("The file is missing.")
            if request.output_format == "pcm":
                return resampled(_pcm(file, start, end), RATE, likeness.RATE)
            return _decoded(self.tools, self.device, file, (start, end), context)

        condition = Condition(self._engine_name, PRECISION, self.device.category)
        with memory_faults(), working(context, self.device):
            return audit.audit(request, voice, audited, speak, cut, condition)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:  # noqa: ARG003 - it needs no files
        """See `Runner.benchmark`."""
        return Benchmark({"input": BENCHMARK_TEXTS[0]}, "character/s")

    @classmethod
    def calibration(cls, tools: Tools, directory: Path) -> Sequence[Benchmark]:  # noqa: ARG003 - as above
        """See `Runner.calibration`: passages of different lengths."""
        return [Benchmark({"input": text}, "character/s") for text in BENCHMARK_TEXTS]

    def weights(self, model: Model) -> tuple[Path, ...]:
        """See `Runner.weights`."""
        return weights(choose(model), model)

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return _engine_version(self._engine_name)

    def close(self) -> None:
        """See `Runner.close`."""
        self._loaded = self._model = None

    def _ready(self, request: SynthesisRequest) -> tuple[SpeechModel, Model]:
        if self._loaded is None or self._model is None:
            raise not_loaded(request.model)
        return self._loaded, self._model

    def _spoken(
        self, loaded: SpeechModel, request: SynthesisRequest, voice: str, context: Context
    ) -> Iterator[tuple[Samples, str]]:
        """Yield each passage as samples and text, and report the progress when it is written."""
        texts = passages(request.input)
        length, spoken = len(request.input), 0
        context.progress(0)
        for text in texts:
            context.check()
            yield loaded.speak(text, voice, request.speed, request.language), text
            # Passages may have more spaces than the text, which is what is paid for.
            spoken = min(length, spoken + len(text) + 1)
            context.progress(min(99.0, 100 * spoken / length), Decimal(spoken))


class _AudioEvents:
    """Publishes the bytes of a file as they are written: `offset` is that of the first byte of `audio`, which is base64."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting = bytearray()
        self._offset = 0

    def add(self, content: bytes) -> None:
        self._waiting += content
        while len(self._waiting) >= PIECE:
            self._publish(PIECE)

    def send(self) -> None:
        """Publish what waits, so that a listener gets a passage when it is spoken."""
        if self._waiting:
            self._publish(len(self._waiting))

    def _publish(self, size: int) -> None:
        piece = base64.b64encode(self._waiting[:size]).decode()
        self._context.event("audio", {"offset": self._offset, "audio": piece})
        del self._waiting[:size]
        self._offset += size


def _silence(rate: int, seconds: float) -> Samples:
    return floats(array("h", bytes(2 * round(rate * seconds))))


def _pcm(file: Path, start: float, end: float) -> Samples:
    """Return a part of a file of 16-bit samples at `RATE`."""
    first, last = round(start * RATE), round(end * RATE)
    with file.open("rb") as opened:
        opened.seek(2 * first)
        content = opened.read(2 * (last - first))
    return floats(array("h", content[: len(content) // 2 * 2]))


def _decoded(
    tools: Tools, device: Device, file: Path, window: tuple[float, float], context: Context
) -> Samples:
    """Return a part of a file at `likeness.RATE`, decoded in the sandbox, since another miner has made it."""
    start, end = window
    name = f"passage-{start:.3f}"
    decoded = decode(tools, device, file, (start, end - start), context, name, rate=likeness.RATE)
    return floats(array("h", decoded))


def _engine_version(engine: SpeechEngine) -> str:
    return f"{engine}-{version_of(engine)}"
