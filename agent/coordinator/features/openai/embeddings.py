"""`POST /v1/embeddings`: vectors of texts."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.embedding.request import MAX_CHARACTERS, MAX_TEXTS, EmbeddingResult, EmbeddingUsage


def _texts(value: Any) -> Any:
    """Return the texts as a list, as some clients send a single one."""
    if isinstance(value, list) and value and not isinstance(value[0], str):
        # The numbers would be another model's tokens.
        raise ValueError("send texts, not tokens (in LangChain: check_embedding_ctx_length=False)")
    return [value] if isinstance(value, str) else value


class EmbeddingsRequest(JobOptions):
    """The texts to embed. The options of a job are extensions."""

    model_config = example({"model": "all-minilm-l6-v2", "input": ["The weather is lovely.", "It is sunny."]})

    model: Annotated[str, Field(max_length=200, examples=["all-minilm-l6-v2"])]
    input: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]],
        BeforeValidator(_texts, json_schema_input_type=str | list[str]),
        Field(min_length=1, max_length=MAX_TEXTS),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=16_384)] | None = None
    user: Annotated[str, Field(max_length=500)] | None = None


async def create(call: ClientCall, request: EmbeddingsRequest, key: str | None) -> AnswerSubmission:
    """Submit the job of a request. See `serving.submit`."""
    parameters = {"model": request.model, "input": request.input, "dimensions": request.dimensions}
    return await submit(call, services.EMBEDDINGS, parameters, request, key=key, names={})


class Embedding(BaseModel, defer_build=True):
    """The vector of a text: numbers, or base64 of 32-bit floats (little-endian)."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel, defer_build=True):
    """The vectors in the order of the texts."""

    model_config = example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
            "model": "all-minilm-l6-v2",
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    )

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def embeddings(submission: AnswerSubmission, result: EmbeddingResult, *, encoded: bool) -> Embeddings:
    """Return the answer."""
    data = [
        Embedding(index=index, embedding=_encoded(vector) if encoded else vector)
        for index, vector in enumerate(result.embeddings)
    ]
    return Embeddings(data=data, model=submission.model, usage=result.usage)


def _encoded(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
