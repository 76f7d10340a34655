"""Which requests `llm_inference` refuses before a model sees them."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from runners.llm.request import InferenceRequest
from support.language_models import NAME


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either prompt or messages"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "either prompt or messages"),
        ({"messages": [{"role": "tool", "content": "b"}]}, "'system', 'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": "b"}], "raw": True}, "raw requires prompt"),
        ({"prompt": "a", "model": "../x"}, "pattern"),
        ({"prompt": "a", "stop": ["x"] * 9}, "at most 8"),
        ({"prompt": "a", "stop": ""}, "at least 1"),
        ({"prompt": "a", "max_tokens": 0}, "greater than or equal"),
        ({"prompt": "a", "temperature": float("nan")}, "finite"),
        (
            {"prompt": "a", "json_object": True, "response_schema": {}},
            "either response_schema or json_object",
        ),
        ({"prompt": "a", "stop": "x", "json_object": True}, "cut the JSON short"),
        (
            {"prompt": "a", "response_schema": {"type": "string", "pattern": "a"}},
            "'pattern' is not supported",
        ),
        ({"prompt": "a", "response_schema": {"not": {}}}, "'not' is not supported"),
        ({"prompt": "a", "response_schema": {"minLength": 2}}, "'minLength' is not supported without a type"),
        ({"prompt": "a", "response_schema": {"type": "string", "maxLength": 10**9}}, "from 0 to 2000"),
        ({"prompt": "a", "response_schema": {"$ref": "#"}}, "refers to itself"),
        ({"prompt": "a", "response_schema": {"$ref": "http://example.com/x"}}, "own $defs"),
        ({"prompt": "a", "response_schema": {"enum": [1], "type": "string"}}, "not of the type"),
        ({"prompt": "a", "response_schema": {"enum": ["x" * 40_000]}}, "the limit is 32768"),
        (
            {"prompt": "a", "response_schema": {"type": "object", "required": ["a"]}},
            "only names in properties",
        ),
    ],
)
def test_an_invalid_request_is_refused_with_the_reason(fields, words):
    with pytest.raises(ValidationError) as caught:
        InferenceRequest(**{"model": NAME, **fields})
    assert words in str(caught.value)


def test_a_deeply_nested_schema_is_refused():
    schema = {"type": "string"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ValidationError, match="more than 32 levels"):
        InferenceRequest(model=NAME, prompt="a", response_schema=schema)


def test_schemas_generated_by_pydantic_are_supported():
    class Item(BaseModel):
        price: float = Field(gt=0)
        kind: Literal["new", "old"] = "new"

    class Order(BaseModel):
        items: list[Item] = Field(max_length=5)
        note: str | None = None

    InferenceRequest(model=NAME, prompt="a", response_schema=Order.model_json_schema())
