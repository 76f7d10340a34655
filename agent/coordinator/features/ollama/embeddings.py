"""`POST /api/embed` and `/api/embeddings`: vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.embedding.request import EmbeddingResult

NANOSECONDS = 10**9


class TimedEmbeddings(EmbeddingResult):
    """The result of the service, with the seconds that the model worked."""

    processing_time: float = 0


class OllamaVectors(BaseModel, defer_build=True):
    """The vectors in the order of the texts. Durations are in nanoseconds."""

    model_config = example(
        {
            "model": "all-minilm-l6-v2",
            "embeddings": [[0.0123, -0.0456]],
            "total_duration": 1_500_000_000,
            "load_duration": 500_000_000,
            "prompt_eval_count": 8,
        }
    )

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaVector(BaseModel, defer_build=True):
    """The vector of a text."""

    model_config = example({"embedding": [0.0123, -0.0456]})

    embedding: list[float]


async def create(
    call: ClientCall, model: str, texts: Sequence[str], dimensions: int | None, *, field: str
) -> AnswerSubmission:
    """Submit the job for texts, which are in `field` of the request. See `serving.submit`."""
    parameters = {"model": model, "input": list(texts), "dimensions": dimensions}
    names = {"input": field}
    return await submit(call, services.EMBEDDINGS, parameters, JobOptions(), key=None, names=names)


def no_vectors(model: str) -> OllamaVectors:
    """Return the answer to a request without texts, with which clients load a model."""
    return OllamaVectors(model=model, embeddings=[], total_duration=0, load_duration=0, prompt_eval_count=0)


def vectors(submission: AnswerSubmission, result: TimedEmbeddings, began: float) -> OllamaVectors:
    """Return the answer to a request of `began`, in seconds since the epoch."""
    total = max(submission.context.clock() - began, result.processing_time)
    return OllamaVectors(
        model=submission.model,
        embeddings=result.embeddings,
        total_duration=int(total * NANOSECONDS),
        load_duration=int((total - result.processing_time) * NANOSECONDS),
        prompt_eval_count=result.usage.prompt_tokens,
    )
