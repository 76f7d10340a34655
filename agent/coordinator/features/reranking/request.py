"""The requests of reranking, in the forms of Jina, Cohere and vLLM."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.reranking.request import MAX_CHARACTERS, MAX_DOCUMENTS

DOCUMENT_TOKENS = 4096
"""Tokens of a document that are read unless the request says otherwise, as in Cohere's API."""

ModelName = Annotated[str, Field(max_length=200, examples=["bge-reranker-v2-m3"])]


def _text(document: Any) -> Any:
    """Return the text of a document, which Jina and Cohere also take as an object."""
    if isinstance(document, dict):
        if set(document) != {"text"}:
            raise ValueError('send a text, or an object with nothing but its "text"')
        return document["text"]
    return document


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class TextDocument(BaseModel, defer_build=True):
    """A document as an object."""

    text: str


Documents = Annotated[
    list[
        Annotated[
            str,
            BeforeValidator(_text, json_schema_input_type=str | TextDocument),
            Field(max_length=MAX_CHARACTERS),
        ]
    ],
    Field(min_length=1, max_length=MAX_DOCUMENTS),
]


class RerankRequest(JobOptions):
    """A query and the documents to sort. The options of a job are extensions."""

    model_config = example(
        {
            "model": "bge-reranker-v2-m3",
            "query": "Why does bread rise?",
            "documents": ["Yeast makes gas in the dough.", "The sun rises in the east."],
            "top_n": 1,
        }
    )

    model: ModelName
    query: Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
    documents: Documents
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = Field(
        default=None, description="Null: yes, except for /v2/rerank, whose answers have none"
    )
    max_tokens_per_doc: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description=f"The rest of a longer document is not read. Null: {DOCUMENT_TOKENS}, or as many as the model reads",
    )
    user: Annotated[str, Field(max_length=500)] | None = None
    rank_fields: Annotated[list[str] | None, Only(["text"])] = None
    truncation: Annotated[bool | None, Only(True)] = None


class ScoreRequest(JobOptions):
    """A text, and one or several others to compare it with. The options of a job are extensions."""

    model_config = example(
        {
            "model": "bge-reranker-v2-m3",
            "text_1": "Why does bread rise?",
            "text_2": ["Yeast makes gas in the dough.", "The sun rises in the east."],
        }
    )

    model: ModelName
    text_1: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]],
        BeforeValidator(_several, json_schema_input_type=str | list[str]),
        Field(
            min_length=1, max_length=1, description="One text; each further one needs a request of its own"
        ),
    ]
    text_2: Annotated[
        Documents, BeforeValidator(_several, json_schema_input_type=str | list[str | TextDocument])
    ]
    user: Annotated[str, Field(max_length=500)] | None = None
