"""Which requests `llm_inference` refuses before a model sees them."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from runners.llm.grammar import call_grammar, grammar
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either prompt or messages"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "either prompt or messages"),
        ({"messages": [{"role": "tool", "content": "b"}]}, "requires tool_call_id"),
        ({"messages": [{"role": "function", "content": "b"}]}, "'assistant' or 'tool'"),
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
        ({"prompt": "a", "response_schema": {"not": {}}}, '["not"]'),
        ({"prompt": "a", "response_schema": "{"}, "not that of a JSON Schema"),
        ({"prompt": "a", "response_schema": "[]"}, "valid dictionary"),
        ({"prompt": "a", "response_schema": "x" * 40_000}, "the limit is 32768"),
        ({"prompt": "a", "response_schema": {"type": "text"}}, "Invalid type: text"),
        ({"prompt": "a", "response_schema": {"type": "array", "uniqueItems": True}}, '["uniqueItems"]'),
        ({"prompt": "a", "response_schema": {"type": "array", "maxItems": 10**9}}, "the limit is 2000"),
        ({"prompt": "a", "response_schema": {"type": "string", "pattern": "(?=a)"}}, "look-around"),
        ({"prompt": "a", "response_schema": {"$ref": "http://example.com/x"}}, "not fetch"),
        ({"prompt": "a", "response_schema": {"enum": [1], "type": "string"}}, "incompatible types"),
        ({"prompt": "a", "response_schema": {"enum": ["x" * 40_000]}}, "the limit is 32768"),
        (
            {"prompt": "a", "response_schema": {"type": "integer", "minimum": 3, "maximum": 2}},
            "minimum (3) is greater than maximum (2)",
        ),
        (
            {
                "prompt": "a",
                "response_schema": {"type": "object", "properties": {"a": False}, "required": ["a"]},
            },
            "required property 'a' is unsatisfiable",
        ),
        ({"prompt": "a", "n": 9}, "less than or equal to 8"),
        ({"prompt": "a", "logit_bias": {"the": 1}}, "pattern"),
        ({"prompt": "a", "tools": [{"name": "a b"}]}, "pattern"),
        ({"prompt": "a", "tools": [{"name": "a"}, {"name": "a"}]}, "the same name"),
        ({"prompt": "a", "tools": [{"name": "a", "parameters": {"not": {}}}]}, '["not"]'),
        ({"prompt": "a", "tools": [{"name": "a"}], "raw": True}, "omit raw"),
        ({"prompt": "a", "tools": [{"name": "a"}], "json_object": True}, "either tools or a form"),
        ({"prompt": "a", "tool_choice": "required"}, "names no function"),
        ({"prompt": "a", "tools": [{"name": "a"}], "tool_choice": {"name": "b"}}, "names no function"),
        ({"messages": [{"role": "user", "content": ""}]}, "empty"),
        ({"messages": [{"role": "user", "content": "a", "tool_call_id": "c"}]}, "requires tool_call_id"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": "a",
                        "tool_calls": [{"id": "c", "name": "f", "arguments": ""}],
                    }
                ]
            },
            "only an assistant's",
        ),
    ],
)
def test_an_invalid_request_is_refused_with_the_reason(fields, words):
    with pytest.raises(ValidationError) as caught:
        InferenceRequest(**{"model": NAME, **fields})
    assert words in str(caught.value)


def test_a_deeply_nested_schema_is_refused():
    schema = {"type": "string"}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ValidationError, match="recursion limit"):
        InferenceRequest(model=NAME, prompt="a", response_schema=schema)


def test_schemas_generated_by_pydantic_are_supported():
    class Item(BaseModel):
        price: float = Field(gt=0)
        kind: Literal["new", "old"] = "new"

    class Order(BaseModel):
        items: list[Item] = Field(max_length=5)
        note: str | None = None

    InferenceRequest(model=NAME, prompt="a", response_schema=Order.model_json_schema())


def test_a_schema_allows_no_free_whitespace():
    """A small model fills its answer with blanks otherwise. The grammar itself says so: vLLM ignores such a field of a request."""
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    for made in (grammar(schema), call_grammar({"tool": schema})):
        assert '"x-guidance": {"whitespace_flexible": false' in made
