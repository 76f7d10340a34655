"""The request and the result of a reranking job."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from runners.api import Strict, WrongField, shown_as

MAX_DOCUMENTS = 1000
MAX_CHARACTERS = 1_000_000
"""Characters of query and documents together."""


class RerankingRequest(Strict):
    """Input of the service `text_reranking`.

    The model reads the query with each of the `documents` and scores how relevant it is. With `document_tokens`, a document is cut
    to this number of tokens, and to what the model reads; otherwise one that is too long is an error.
    """

    model_config = shown_as(
        {
            "model": "bge-reranker-v2-m3",
            "query": "How do I bake bread?",
            "documents": ["Put the dough into the oven.", "The train leaves at noon."],
        }
    )

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["bge-reranker-v2-m3"])
    query: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    documents: tuple[Annotated[str, Field(max_length=MAX_CHARACTERS)], ...] = Field(
        min_length=1, max_length=MAX_DOCUMENTS
    )
    document_tokens: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if len(self.query) + sum(map(len, self.documents)) > MAX_CHARACTERS:
            raise WrongField(
                "documents", f"query and documents have more than {MAX_CHARACTERS} characters together"
            )
        return self


class RerankingUsage(BaseModel, defer_build=True):
    """Tokens that the model has read: the query with each document, and those that the model adds."""

    prompt_tokens: int
    total_tokens: int


class RerankingResult(BaseModel, defer_build=True):
    """Output of the service: the scores in the order of the documents, from 0 to 1; the greatest is the most relevant."""

    scores: list[float]
    usage: RerankingUsage
