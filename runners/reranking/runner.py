"""Scores of documents by a cross-encoder in llama.cpp, several requests at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from runners.api import (
    TOKENS,
    Benchmark,
    Context,
    Fail,
    FailureCode,
    Model,
    Requirements,
    Result,
    Retry,
    ServiceDefinition,
    Tools,
)
from runners.engine_server import EngineServer
from runners.engine_server.llama import PART
from runners.engine_server.reading import ReadingRunner, ReadLog, together
from runners.model_files.gguf_header import GgufHeader, InvalidGguf, read_header
from runners.reranking.form import FORM
from runners.reranking.request import RerankingRequest, RerankingResult

_HEADS = frozenset(("cls.weight", "cls.output.weight"))
"""The tensors with which llama.cpp makes a score of what the model has read. Some have one of them."""

_PROBABILITIES = ("qwen3", "qwen3vl")
"""Architectures whose scores llama.cpp returns as probabilities; those of the others are logits."""

SPARE = 8
"""Tokens that a text which was cut may gain because its end is read in another way."""

DIGITS = 8

DEFINITION = ServiceDefinition(
    service_id="text_reranking",
    name="Text reranking",
    category="text",
    description="Scores how relevant each text is to a question, so that a search shows the best results first.",
    tags=("reranking", "relevance", "search", "rag", "text"),
    unit="token",
    sale_units=TOKENS,
    determinism="The scores are the same on the same device, up to rounding errors.",
    input_model=RerankingRequest,
    form=FORM,
    output_model=RerankingResult,
    requirements=Requirements(gpu="optional", vram=2**29, memory=2**29, disk=2**29),
    route="text/reranking",
    model_field="model",
    title=lambda request, _: request["query"],
)


class RerankingRunner(ReadingRunner[RerankingRequest]):
    """Performs `text_reranking`. One model is loaded at a time."""

    definition = DEFINITION
    name = "reranking"
    version = "0.1.0"
    task = "ranking"

    _probability: Callable[[float], float]
    _added = 0
    """Tokens that the model reads in addition to a query and a document."""

    def load(self, model: Model | None) -> None:
        """See `Runner.load`. Refuses a model without scores, for which llama.cpp would return any numbers."""
        headers = list[GgufHeader]()
        # The engine itself says what is wrong with files that cannot be read.
        with suppress(OSError, InvalidGguf):
            headers = [read_header(file) for file in self.weights(model)] if model is not None else []
        if headers and _HEADS.isdisjoint(tensor.name for header in headers for tensor in header.tensors):
            raise Retry(
                "The model is not a reranker: it has no layer for scores. Use it for text_embedding, or choose another one.",
                code=FailureCode.MODEL_UNAVAILABLE,
            )
        is_probable = bool(headers) and headers[0].architecture in _PROBABILITIES
        self._probability = float if is_probable else _sigmoid
        super().load(model)
        if self._server is not None:
            read = self._server.compute("/v1/rerank", {"query": "a", "documents": ["a"]})
            self._added = int(read["usage"]["prompt_tokens"]) - 2 * len(_tokens(self._server, "a"))

    def run(self, request: RerankingRequest, context: Context) -> Result:
        """See `Runner.run`. Raises `Fail` with CONTEXT_OVERFLOW."""
        server = self._open(request.model, context)
        self._check_length(server, request.query, context)
        limit = None
        if request.document_tokens is not None:
            limit = min(request.document_tokens, self._free(server, request.query))
        log = ReadLog(context, len(request.documents))
        scores = list[float]()
        for documents in together(request.documents):
            context.check()
            texts = [self._fitting(server, document, limit, context) for document in documents]
            fields = {"query": request.query, "documents": texts}
            answer = self._compute(server, "/v1/rerank", fields)
            # The best come first.
            ordered = sorted(answer["results"], key=lambda result: int(result["index"]))
            scores += [
                round(self._probability(float(result["relevance_score"])), DIGITS) for result in ordered
            ]
            log.add(len(documents), int(answer["usage"]["prompt_tokens"]))
        log.end()
        usage = {"prompt_tokens": log.tokens, "total_tokens": log.tokens}
        return Result({"scores": scores, "usage": usage}, Decimal(log.tokens))

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark | None:  # noqa: ARG003 - it needs no files
        """Sixteen paragraphs."""
        paragraph = "A steam engine turns heat into motion: water boils, and its steam pushes a piston. " * 8
        documents = [f"{number}. {paragraph}" for number in range(16)]
        return Benchmark({"query": "How does a steam engine work?", "documents": documents}, "token/s")

    def _free(self, server: EngineServer, query: str) -> int:
        """Return the tokens that a document may have beside a query."""
        free = self._context - len(_tokens(server, query)) - self._added - SPARE
        if free < 1:
            raise Fail(
                f"The query leaves no space for documents: the model reads {self._context} tokens. Shorten it.",
                code=FailureCode.CONTEXT_OVERFLOW,
            )
        return free

    def _fitting(self, server: EngineServer, document: str, limit: int | None, context: Context) -> str:
        """Return the document, or its first `limit` tokens."""
        if limit is None:
            self._check_length(server, document, context)
            return document
        # Every token has at least a byte.
        if len(document.encode()) <= limit:
            return document
        tokens = list[int]()
        for start in range(0, len(document), PART):
            tokens += _tokens(server, document[start : start + PART])
            if len(tokens) > limit:
                return str(server.read("/detokenize", {"tokens": tokens[:limit]})["content"])
            context.check()
        return document


def _tokens(server: EngineServer, text: str) -> list[int]:
    fields = {"content": text, "add_special": False, "parse_special": False}
    return [*server.read("/tokenize", fields)["tokens"]]


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(logit, 700.0))))
