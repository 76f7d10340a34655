"""Vectors of texts in llama.cpp, several requests at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import (
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
    SoldUnit,
    Tools,
)
from runners.embedding.form import FORM
from runners.embedding.request import EmbeddingRequest, EmbeddingResult
from runners.engine_server import EngineServer, llama
from runners.engine_server.llama import gguf_file, gguf_files, least_tokens, start_llama
from runners.extras import extra_command

ENGINE = llama.NAME

CONTEXT = 2048
"""Tokens of one text, unless the model's entry has the option `context` or the model reads fewer."""

TEXTS = 16
CHARACTERS = 16_384
"""Texts in one request to the engine, and their characters if they are several. Between two, a job can be cancelled and reports progress."""

DIGITS = 8
"""Decimal places of a vector's numbers, the precision of the engine's 32 bits."""

DEFINITION = ServiceDefinition(
    service_id="text_embedding",
    name="Text embedding",
    category="text",
    description="Turns each text into a list of numbers, so that a program can find texts of similar meaning.",
    tags=("embedding", "vector", "search", "rag", "text"),
    unit="token",
    sale_units=(
        SoldUnit("token", "tokens", Decimal(1)),
        SoldUnit("million tokens", "million tokens", Decimal(1_000_000)),
    ),
    determinism="The vectors are the same on the same device, up to rounding errors.",
    input_model=EmbeddingRequest,
    form=FORM,
    output_model=EmbeddingResult,
    requirements=Requirements(gpu="optional", vram=2**29, memory=2**29, disk=2**29),
    route="text/embedding",
    model_field="model",
    title=lambda request, _: request["input"][0],
)


class EmbeddingRunner(Runner[EmbeddingRequest]):
    """Performs `text_embedding`. One model is loaded at a time."""

    definition = DEFINITION
    name = "embedding"
    version = "0.1.0"
    concurrent = True

    _server: EngineServer | None = None
    _context = CONTEXT

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Starts it only to list its devices."""
        if llama.build() is None:
            reason = f"{ENGINE} is missing; install it: {extra_command('llm')}."
            return Probe(available=False, reasons=(reason,))
        return Probe(
            available=True,
            version=llama.build_version(),
            kinds={ENGINE: llama.device_kinds()},
            features={"engines": [ENGINE]},
            concurrency=tools.batch,
        )

    def load(self, model: Model | None) -> None:
        """See `Runner.load`."""
        self.close()
        if model is None:
            return
        file = gguf_file(model)
        if file is None:
            raise Retry(
                f"The model {model.name!r} is not on this machine as GGUF; download it with "
                f"'aitbc-agent models pull {model.name}'.",
                code=FailureCode.MODEL_UNAVAILABLE,
            )
        self._context = int(model.options.get("context", CONTEXT))
        self._server = start_llama(
            file, self.device, self.vram, context=self._context, answers=self.tools.batch, embedding=True
        )

    def run(self, request: EmbeddingRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with CONTEXT_OVERFLOW."""
        if self._server is None:
            raise Retry(f"The model {request.model!r} is not loaded.", code=FailureCode.MODEL_UNAVAILABLE)
        began = time.monotonic()
        context.log(
            f"Model {request.model} in {ENGINE} on {self.device.words}, which reads up to {self._context} tokens of a text.",
            ENGINE,
        )
        vectors, tokens = list[list[float]](), 0
        for texts in _together(request.input):
            context.check()
            for text in texts:
                self._check_length(self._server, text, context)
            answer = self._embed(self._server, texts)
            vectors += [vector["embedding"] for vector in answer["data"]]
            tokens += int(answer["usage"]["prompt_tokens"])
            context.progress(100 * len(vectors) / len(request.input), Decimal(tokens))
        seconds = max(time.monotonic() - began, 0.001)
        context.log(
            f"{len(vectors)} texts with {tokens} tokens in {seconds:.2f} s: {tokens / seconds:.0f} token/s.",
            ENGINE,
        )
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        shortened = [_shortened(vector, request.dimensions) for vector in vectors]
        return Result({"embeddings": shortened, "usage": usage}, Decimal(tokens))

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return llama.build_version()

    def weights(self, model: Model) -> tuple[Path, ...]:
        """See `Runner.weights`."""
        return gguf_files(model)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark | None:  # noqa: ARG003 - it needs no files
        """Sixteen paragraphs."""
        paragraph = "A steam engine turns heat into motion: water boils, and its steam pushes a piston. " * 8
        return Benchmark({"input": [f"{number}. {paragraph}" for number in range(16)]}, "token/s")

    def close(self) -> None:
        """See `Runner.close`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _check_length(self, server: EngineServer, text: str, context: Context) -> None:
        for least in least_tokens(server, text, parse_special=True):
            if least > self._context:
                raise self._too_long()
            context.check()
            context.progress(None)

    def _too_long(self) -> Fail:
        return Fail(
            f"A text has more tokens than the model reads ({self._context}); split it.",
            code=FailureCode.CONTEXT_OVERFLOW,
        )

    def _embed(self, server: EngineServer, texts: Sequence[str]) -> Any:
        try:
            return server.compute("/v1/embeddings", {"input": texts})
        except Fail as error:
            if error.code != FailureCode.CONTEXT_OVERFLOW:
                raise
            # The engine's own message speaks of a prompt and of settings of the server.
            raise self._too_long() from None


def _together(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts of each request to the engine."""
    group: list[str] = []
    for text in texts:
        # A text that is longer than all of a group stands alone.
        if group and (len(group) == TEXTS or sum(map(len, group)) + len(text) > CHARACTERS):
            yield group
            group = []
        group.append(text)
    yield group


def _shortened(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """Return the first numbers of a vector, scaled to length 1."""
    if dimensions is None or dimensions >= len(vector):
        return [round(number, DIGITS) for number in vector]
    part = vector[:dimensions]
    length = math.sqrt(sum(number * number for number in part)) or 1.0
    return [round(number / length, DIGITS) for number in part]
