"""The request and the result of an embedding job."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from runners.api import Strict, WrongField, shown_as

MAX_TEXTS = 512
MAX_CHARACTERS = 1_000_000
"""Characters of all texts together."""


class EmbeddingRequest(Strict):
    """Input of the service `text_embedding`.

    Each text of `input` gets a vector of length 1; texts of similar meaning have vectors with a large scalar product. With
    `dimensions`, only that many first numbers of each vector are returned, scaled to length 1 again, which only models that are
    trained for it support well.
    """

    model_config = shown_as(
        {"model": "all-minilm-l6-v2", "input": ["The weather is lovely.", "It is sunny."]}
    )

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["all-minilm-l6-v2"])
    input: tuple[Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)], ...] = Field(
        min_length=1, max_length=MAX_TEXTS
    )
    dimensions: int | None = Field(default=None, ge=1, le=16_384)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(map(len, self.input)) > MAX_CHARACTERS:
            raise WrongField("input", f"the texts have more than {MAX_CHARACTERS} characters together")
        return self


class EmbeddingUsage(BaseModel, defer_build=True):
    """Tokens of all texts, with those that the model adds to each."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResult(BaseModel, defer_build=True):
    """Output of the service: the vectors in the order of the texts."""

    embeddings: list[list[float]]
    usage: EmbeddingUsage
