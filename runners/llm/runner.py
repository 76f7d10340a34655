"""Text generation with language models, several requests at a time."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runners.api import (
    Benchmark,
    Context,
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
from runners.llm.engines import open_engine
from runners.llm.engines.base import LanguageEngine, Piece
from runners.llm.files import weights
from runners.llm.request import InferenceRequest, InferenceResult

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "gguf", "xgrammar")

DEFINITION = ServiceDefinition(
    service_id="llm_inference",
    name="LLM inference",
    category="text",
    description=(
        "Answers questions and conversations, or continues a text, with open language models. Answers can be streamed "
        "and restricted to a JSON schema."
    ),
    tags=("llm", "text", "chat", "completion", "json", "llama", "qwen", "mistral"),
    unit="token",
    determinism=(
        "With temperature 0, or with a seed, the text is the same on the same device and engine, except that with 16-bit "
        "numbers it may differ where two words are nearly equally likely, depending on concurrent requests."
    ),
    input_model=InferenceRequest,
    output_model=InferenceResult,
    requirements=Requirements(gpu="optional", vram=2**30, memory=2 * 2**30, disk=2**30),
    route="llm/inference",
    model_field="model",
)


class LLMRunner(Runner[InferenceRequest]):
    """Performs `llm_inference`. One model is loaded at a time and answers up to `Tools.batch` requests together."""

    definition = DEFINITION
    name = "llm"
    version = "0.2.0"
    concurrent = True

    _engine: LanguageEngine | None = None

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Finds packages without importing them."""
        missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
        if missing:
            reason = f"{', '.join(missing)} missing; install the extra: pip install 'aitbc-agent[llm]'."
            return Probe(available=False, reasons=(reason,))
        fast = importlib.util.find_spec("vllm") is not None
        return Probe(
            available=True,
            version=_version("transformers"),
            features={"engines": ["vllm", "transformers"] if fast else ["transformers"]},
            concurrency=tools.batch,
        )

    def load(self, model: Model | None) -> None:
        """See `Runner.load`."""
        self.close()
        if model is not None:
            self._engine = open_engine(model, self.device, self.tools, self.vram)

    def run(self, request: InferenceRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with CONTEXT_OVERFLOW or INPUT_INVALID."""
        if self._engine is None:
            raise Retry(f"The model {request.model!r} is not loaded.", code=FailureCode.MODEL_UNAVAILABLE)
        context.check()
        generation = self._engine.submit(request)
        context.on_cancel(generation.cancel)
        text = ""
        try:
            for piece in generation.pieces():
                context.check()
                if piece.text:
                    context.event("token", {"text": piece.text, "offset": len(text)})
                text += piece.text
                context.progress(100 * piece.completion_tokens / request.max_tokens, _units(piece))
                if piece.finish_reason is not None:
                    return _result(text, piece)
                if context.max_units is not None and _units(piece) >= context.max_units:
                    return _result(text, replace(piece, finish_reason="length"))
        finally:
            generation.cancel()
        context.check()
        raise Retry("The engine ended an answer before it was complete.")

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

    def close(self) -> None:
        """See `Runner.close`."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def _units(piece: Piece) -> Decimal:
    return Decimal(piece.prompt_tokens + piece.completion_tokens)


def _result(text: str, piece: Piece) -> Result:
    usage = {
        "prompt_tokens": piece.prompt_tokens,
        "completion_tokens": piece.completion_tokens,
        "total_tokens": piece.prompt_tokens + piece.completion_tokens,
    }
    return Result({"text": text, "finish_reason": piece.finish_reason, "usage": usage}, _units(piece))


def _version(distribution: str) -> str:
    with suppress(PackageNotFoundError):
        return version(distribution)
    return "unknown"
