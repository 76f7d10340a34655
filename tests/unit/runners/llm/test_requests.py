"""Which requests `llm_inference` refuses before a model sees them."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, Field, ValidationError

from runners.llm.grammar import call_grammar, grammar
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME


def calling(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a request with a function that a model may call, with these parameters."""
    return {"prompt": "a", "tools": [{"name": "a", "parameters": parameters}]}


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
        ({"prompt": "a", "response_schema": {"not": {}}}, 'enforced: "not"'),
        ({"prompt": "a", "response_schema": "{"}, "not that of a JSON Schema"),
        ({"prompt": "a", "response_schema": "[]"}, "valid dictionary"),
        ({"prompt": "a", "response_schema": "x" * 40_000}, "the limit is 32768"),
        ({"prompt": "a", "response_schema": {"type": "text"}}, "Invalid type: text"),
        (
            {"prompt": "a", "response_schema": {"type": "array", "uniqueItems": True}},
            'enforced: "uniqueItems"',
        ),
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
        (
            {"prompt": "a", "tools": [{"name": "a", "parameters": {"not": {}}}], "tool_choice": "required"},
            'a call of a cannot be enforced (these keywords cannot be enforced: "not"); simplify its parameters, or let tool_choice be auto',
        ),
        ({"prompt": "a", "tools": [{"name": "a", "parameters": "x" * 40_000}]}, "the limit is 32768"),
        (
            calling({"type": "string", "minLength": 5, "maxLength": 2}),
            "minLength is 5, which is more than maxLength, 2",
        ),
        (calling({"type": "array", "items": {"minItems": 3, "maxItems": 1.5}}), "more than maxItems, 1.5"),
        (calling({"type": "string", "pattern": "^(a{15,2})*$"}), "at least 15 and at most 2 times"),
        (
            calling({"type": "object", "patternProperties": {"^a{5,02}$": {}}}),
            "at least 5 and at most 2 times",
        ),
        ({"prompt": "a", "tools": [{"name": "a"}], "raw": True}, "omit raw"),
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


@pytest.mark.parametrize(
    "text",
    [
        "{", '{"a":', "[]", "1", "null", '"a"', "{} {}", "{'a': 1}", '{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}',
        '{"a": ' + "9" * 400 + "}", '{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}', '{"a": "\0"}', '{"a":' * 65 + "1" + "}" * 65,
        '{"a":' * 90_000, "\ufeff{}",
    ],
)  # fmt: skip
def test_the_arguments_of_an_earlier_call_are_a_json_object_that_every_engine_can_read(text):
    """Of those that are none, engines' parsers would fail."""
    with pytest.raises(ValidationError, match="the arguments of f: must be the text of a JSON object"):
        InferenceRequest(model=NAME, messages=called(text))


@pytest.mark.parametrize(
    ("text", "read"),
    [("", "{}"), (" \n", "{}"), ("{}", "{}"), ('{"a": 1, "b": [1.5, null]}', '{"a": 1, "b": [1.5, null]}')],
)
def test_no_arguments_are_an_empty_object(text, read):
    """Several models and clients write an empty text."""
    request = InferenceRequest(model=NAME, messages=called(text))
    assert request.messages[1].tool_calls[0].arguments == read
    again = InferenceRequest.model_validate(request.model_dump(mode="json"))
    assert again == request


def called(arguments):
    call = {"id": "c", "name": "f", "arguments": arguments}
    return [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]


USUAL = {
    "type": "object",
    "properties": {
        "link": {"type": "string", "format": "uri"},
        "file": {"allOf": [{"type": "string", "format": "byte"}]},
        "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "count": {"type": "integer", "format": "int64"},
        "format": {"type": "string"},
        "odd": {"type": "string", "format": ["date"]},
        "names": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "string"}},
    },
    "required": ["link", "names"],
}  # fmt: skip


def test_schemas_of_usual_tools_are_enforced_without_the_formats_that_engines_do_not_know():
    """JSON Schema makes these annotations. A property may have the name of a keyword."""
    InferenceRequest(model=NAME, prompt="a", response_schema=USUAL)
    InferenceRequest(
        model=NAME, prompt="a", tools=[{"name": "f", "parameters": USUAL}], tool_choice="required"
    )
    made = grammar(USUAL)
    assert not [name for name in ("uri", "byte", "int64", "propertyNames") if f'"{name}"' in made]
    assert '"format": "date"' in made
    assert '"format": {"type": "string"}' in made


def test_the_parameters_of_functions_that_the_model_may_call_need_not_be_enforced():
    parameters = {"type": "object", "properties": {"a": {"not": {"const": 1}}}, "minProperties": 1}
    tools = [{"name": "f", "parameters": parameters}, {"name": "g"}]
    for choice in ("auto", "none", {"name": "g"}):
        InferenceRequest(model=NAME, prompt="a", tools=tools, tool_choice=choice)
    with pytest.raises(ValidationError, match="a call of f cannot be enforced"):
        InferenceRequest(model=NAME, prompt="a", tools=tools, tool_choice={"name": "f"})


NAMED = {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    ("names", "follows", "deviates"),
    [
        ({"type": "string", "enum": ["a", "b"]}, '{"a": 1}', '{"c": 1}'),
        ({"pattern": "^x-"}, '{"x-a": 1}', '{"a": 1}'),
    ],
)
def test_the_names_of_a_records_properties_are_enforced(names, follows, deviates):
    """As zod writes a record whose names are a list or a pattern."""
    InferenceRequest(model=NAME, prompt="a", response_schema={**NAMED, "propertyNames": names})
    made = grammar({**NAMED, "propertyNames": names})
    assert accepts(made, follows)
    assert not accepts(made, deviates)


def accepts(made, text):
    tokens = LLTokenizer("byte")
    matcher = LLMatcher(tokens, made)
    return matcher.consume_tokens(tokens.tokenize_str(text)) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"propertyNames": {"maxLength": 3}}, 'cannot be enforced: "propertyNames"'),
        ({"not": {}, "if": {}}, 'cannot be enforced: "if", "not"'),
        (
            {"oneOf": [{"type": "string"}, {"maxLength": 3, "type": "string"}]},
            "oneOf can be enforced only if",
        ),
        ({"type": "string", "pattern": "(?=a)"}, "a pattern with look-around cannot be enforced"),
    ],
)
def test_what_cannot_be_enforced_is_named(part, words):
    with pytest.raises(ValidationError, match=words):
        InferenceRequest(model=NAME, prompt="a", response_schema=part)
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {"a": part}}}]
    InferenceRequest(model=NAME, prompt="a", tools=tools, json_object=True)
    with pytest.raises(ValidationError, match=words):
        InferenceRequest(model=NAME, prompt="a", tools=tools, tool_choice="required")


def test_a_deeply_nested_schema_is_refused():
    schema = {"type": "string"}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ValidationError, match="nested more than 64 levels"):
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
