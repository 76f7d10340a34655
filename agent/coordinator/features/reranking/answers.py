"""The answers of reranking, in the forms of Jina, Cohere and vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.reranking.request import TextDocument
from aitbc.answers.fields import example


class RankedDocument(BaseModel, defer_build=True):
    """A document by its number in the request. A score of a reranker is from 0 to 1, one of vectors from -1 to 1."""

    index: int
    relevance_score: float
    document: TextDocument | None = None


class ReadTokens(BaseModel, defer_build=True):
    """Tokens that the model has read: the query with each document."""

    prompt_tokens: int
    total_tokens: int


class Reranked(BaseModel, defer_build=True):
    """The most relevant documents first. `usage` is Jina's form of the tokens, `meta` Cohere's."""

    model_config = example(
        {
            "id": "job_1234567890",
            "object": "list",
            "model": "bge-reranker-v2-m3",
            "results": [
                {
                    "index": 0,
                    "relevance_score": 0.98,
                    "document": {"text": "Yeast makes gas in the dough."},
                }
            ],
            "usage": {"prompt_tokens": 21, "total_tokens": 21},
            "meta": {"api_version": {"version": "2"}, "tokens": {"input_tokens": 21}},
        }
    )

    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[RankedDocument]
    usage: ReadTokens
    meta: dict[str, Any]


class TextScore(BaseModel, defer_build=True):
    """The score of the text with this number."""

    index: int
    object: Literal["score"] = "score"
    score: float


class Scored(BaseModel, defer_build=True):
    """The scores in the order of the texts."""

    model_config = example(
        {
            "id": "job_1234567890",
            "object": "list",
            "created": 1700000000,
            "model": "bge-reranker-v2-m3",
            "data": [{"index": 0, "object": "score", "score": 0.98}],
            "usage": {"prompt_tokens": 21, "total_tokens": 21},
        }
    )

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[TextScore]
    usage: ReadTokens


def reranked(
    submission: AnswerSubmission,
    documents: Sequence[str],
    scores: Sequence[float],
    tokens: int,
    *,
    top: int | None,
    with_documents: bool,
) -> Reranked:
    """Return the answer with the `top` best documents, or all."""
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[:top]
    return Reranked(
        id=submission.job_id,
        model=submission.model,
        results=[
            RankedDocument(
                index=index,
                relevance_score=scores[index],
                document=TextDocument(text=documents[index]) if with_documents else None,
            )
            for index in best
        ],
        usage=ReadTokens(prompt_tokens=tokens, total_tokens=tokens),
        meta={"api_version": {"version": "2"}, "tokens": {"input_tokens": tokens}},
    )


def scored(submission: AnswerSubmission, scores: Sequence[float], tokens: int) -> Scored:
    """Return the answer with all scores."""
    return Scored(
        id=submission.job_id,
        created=submission.created,
        model=submission.model,
        data=[TextScore(index=index, score=score) for index, score in enumerate(scores)],
        usage=ReadTokens(prompt_tokens=tokens, total_tokens=tokens),
    )
