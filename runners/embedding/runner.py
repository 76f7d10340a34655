"""Vectors of texts in llama.cpp, several requests at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from runners.api import (
    TOKENS,
    Benchmark,
    Context,
    Requirements,
    Result,
    ServiceDefinition,
    Tools,
)
from runners.embedding.form import FORM
from runners.embedding.request import EmbeddingRequest, EmbeddingResult
from runners.engine_server.reading import ReadingRunner, ReadLog, together

DIGITS = 8
"""Decimal places of a vector's numbers, the precision of the engine's 32 bits."""

DEFINITION = ServiceDefinition(
    service_id="text_embedding",
    name="Text embedding",
    category="text",
    description="Turns each text into a list of numbers, so that a program can find texts of similar meaning.",
    tags=("embedding", "vector", "search", "rag", "text"),
    unit="token",
    sale_units=TOKENS,
    determinism="The vectors are the same on the same device, up to rounding errors.",
    input_model=EmbeddingRequest,
    form=FORM,
    output_model=EmbeddingResult,
    requirements=Requirements(gpu="optional", vram=2**29, memory=2**29, disk=2**29),
    route="text/embedding",
    model_field="model",
    title=lambda request, _: request["input"][0],
)


class EmbeddingRunner(ReadingRunner[EmbeddingRequest]):
    """Performs `text_embedding`. One model is loaded at a time."""

    definition = DEFINITION
    name = "embedding"
    version = "0.1.0"
    task = "embedding"

    def run(self, request: EmbeddingRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with CONTEXT_OVERFLOW."""
        server = self._open(request.model, context)
        log = ReadLog(context, len(request.input))
        vectors = list[list[float]]()
        for texts in together(request.input):
            context.check()
            for text in texts:
                self._check_length(server, text, context)
            answer = self._compute(server, "/v1/embeddings", {"input": texts})
            vectors += [vector["embedding"] for vector in answer["data"]]
            log.add(len(texts), int(answer["usage"]["prompt_tokens"]))
        log.end()
        usage = {"prompt_tokens": log.tokens, "total_tokens": log.tokens}
        shortened = [_shortened(vector, request.dimensions) for vector in vectors]
        return Result({"embeddings": shortened, "usage": usage}, Decimal(log.tokens))

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark | None:  # noqa: ARG003 - it needs no files
        """Sixteen paragraphs."""
        paragraph = "A steam engine turns heat into motion: water boils, and its steam pushes a piston. " * 8
        return Benchmark({"input": [f"{number}. {paragraph}" for number in range(16)]}, "token/s")


def _shortened(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """Return the first numbers of a vector, scaled to length 1."""
    if dimensions is None or dimensions >= len(vector):
        return [round(number, DIGITS) for number in vector]
    part = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in part)) or 1.0
    return [round(number / length, DIGITS) for number in part]
