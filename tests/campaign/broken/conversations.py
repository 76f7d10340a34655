"""Broken and unusual requests to language models, native and in OpenAI's forms."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

from campaign.broken.pictures import picture
from campaign.broken.request import Chance, Request, Upload, leaves, options
from campaign.broken.values import ODD_VALUES, addresses, spoiled, text
from runners.llm.grammar import check_schema

REFUSED_SHARE = 0.1
MODEL = "smollm2-135m-instruct"
PICTURE = "picture for a model that sees none"
ARGUMENTS = "arguments of a tool call"
_ARGUMENTS = (
    "",
    "[]",
    "1",
    "null",
    "{",
    '{"a": ',
    '{"a": 1}}',
    "{'a': 1}",
    '"x"',
    "NaN",
    "\0",
    "{}" * 9,
    '{"a": "\ud800"}',
    '{"a":' * 300,
    " ",
    "{}",
    '{"city": "Paris"}',
)
_WORDS = "one two three four five six seven eight nine ten"
"""So many that 499 messages or 128 tools are longer than the context: a prompt that nearly fits takes half a minute to read."""

_PATTERNS = ("(a+)+$", "[", "(?<=a)b", "\\p{L}+", "^$", "a{1,100000}", "(?i)x", "\\bx\\b", "\ud800")


def schema(chance: Chance) -> dict[str, Any]:
    """Draw a JSON Schema, often a strange one, and rarely one that is refused."""
    for _ in range(10):
        drawn = _schema(chance)
        if chance.random() > REFUSED_SHARE:
            with suppress(ValueError):
                return check_schema(drawn)
        else:
            return drawn
    return {}


def _schema(chance: Chance, depth: int = 0) -> dict[str, Any]:
    drawn: list[dict[str, Any]] = [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}},
        {"$ref": "https://127.0.0.1/schema"},
        {"$ref": "#/nowhere"},
        {"enum": [f"value {number}" for number in range(chance.choice((1, 500, 4000)))]},
        {"enum": []},
        {"type": "string", "pattern": chance.choice(_PATTERNS)},
        {"type": "string", "format": chance.choice(("date-time", "uri", "byte", "email", "uuid", "regex", "x"))},
        {"type": "string", "minLength": 10**6},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
        {"type": "array", "uniqueItems": True, "contains": {"type": "null"}},
        {"type": "number", "multipleOf": 0},
        {"type": "integer", "minimum": 5, "maximum": 1},
        {"type": "object", "patternProperties": {"(": {}}, "additionalProperties": False},
        {"type": "object", "propertyNames": {"pattern": "^x"}, "minProperties": 9},
        {"type": "object", "required": ["\ud800", ""], "properties": {"": {}, "\0": {"const": 1}}},
        {"not": {}}, {"if": {"type": "string"}, "then": False}, {"dependentSchemas": {"a": {}}}, {"unevaluatedProperties": False}, {}, {"type": []}, {"type": "x"},
        {"const": chance.choice((None, 1e308, 10**30, "\ud800", {"a": [1]}))},
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(chance.choice((3, 300)))}, "required": ["p0"]},
    ]  # fmt: skip
    chosen = chance.choice(drawn)
    if depth < 4 and chance.random() < 0.4:
        inner = _schema(chance, depth + 1)
        outer: list[dict[str, Any]] = [
            {"type": "array", "items": inner, "maxItems": 2},
            {"type": "object", "properties": {"a": inner}, "required": ["a"]},
            {chance.choice(("anyOf", "allOf", "oneOf")): [inner, chosen]},
        ]
        return chance.choice(outer)
    return chosen


def _picture_url(chance: Chance) -> tuple[str, str]:
    kind, data = picture(chance)
    encoded = base64.b64encode(data).decode() if len(data) < 2**20 else "x"
    media = chance.choice(("image/png", "image/jpeg", "image/webp", "image/gif"))
    return kind, chance.choice(
        (f"data:{media};base64,{encoded}", f"data:{media};base64,{encoded[:-3]}", "data:,", addresses(chance))
    )


def _sampling(chance: Chance) -> dict[str, Any]:
    """Draw sampling parameters at and beyond their limits."""
    drawn: dict[str, Any] = {
        "temperature": chance.choice((0, 2, 1e-9, 1e-30, 1.99)), "top_p": chance.choice((1, 1e-9, 1e-320, 0.5)), "top_k": chance.choice((0, 1, 1000)),
        "seed": chance.choice((0, 2**32, 2**53 - 1)), "repetition_penalty": chance.choice((0.5, 2)), "presence_penalty": chance.choice((-2, 2)),
        "frequency_penalty": chance.choice((-2, 2)), "stop": chance.choice(("\n", ["a", "b", "\0"], ["\ud800"], [" "] * 8, "x" * 256, "")),
        "logit_bias": chance.choice(({"0": -100, "1": 100}, {"49151": 100}, {"49152": 100}, {"9999999": 1}, {str(number): -100 for number in range(300)})),
        "n": chance.choice((1, 2, 8)),
    }  # fmt: skip
    return {name: drawn[name] for name in chance.sample(sorted(drawn), chance.randint(0, 4))}


def _turns(chance: Chance) -> tuple[str, list[dict[str, Any]]]:
    """Draw messages in OpenAI's form, and what is wrong with them."""
    user = {"role": "user", "content": text(chance) or "x"}
    call = {
        "id": chance.choice(("c", "", "\0", "x" * 100)),
        "type": "function",
        "function": {"name": "look_up", "arguments": chance.choice(_ARGUMENTS)},
    }
    calling = {
        "role": "assistant",
        "content": chance.choice((None, "", "x")),
        "tool_calls": [call] * chance.choice((1, 2)),
    }
    result = {"role": "tool", "tool_call_id": chance.choice(("c", "other")), "content": text(chance)}
    if chance.random() < 0.08:
        kind, url = _picture_url(chance)
        seen = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
        return f"{PICTURE} ({kind})", [{"role": "user", "content": seen}]
    kinds: dict[str, list[dict[str, Any]]] = {
        "strange text": [user],
        "roles in a strange order": [{"role": chance.choice(("system", "assistant", "user", "developer")), "content": text(chance) or "x"} for _ in range(chance.randint(1, 6))],
        "empty messages": [user, {"role": chance.choice(("assistant", "user", "system")), "content": ""}, user],
        "no messages": [],
        "wrong role": [{"role": chance.choice(("robot", "", "function", None)), "content": "x"}],
        "tool result without a call": [user, result],
        ARGUMENTS: [user, calling, result, user],
        "tool call without a result": [user, calling, user],
        "calls at the end": [user, calling],
        "many messages": chance.choice(([user, {"role": "assistant", "content": "."}] * 8, [user, {"role": "assistant", "content": _WORDS}] * 499)),
        "longer than the context": [{"role": "user", "content": chance.choice(("word ", "\u4e2d", "\U0001f469", "\0", "<|im_end|>")) * chance.choice((9000, 30_000))}],
    }  # fmt: skip
    kind = chance.choice(list(kinds))
    return kind, kinds[kind]


def _tools(chance: Chance) -> dict[str, Any]:
    names = chance.choice(
        (
            ("look_up",),
            ("a", "b"),
            ("a", "a"),
            tuple(f"t{number}" for number in range(128)),
            ("a b",),
            ("x" * 64,),
        )
    )
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": _WORDS * 5 if len(names) > 2 else text(chance)[:200],
                "parameters": schema(chance),
            },
        }
        for name in names
    ]
    named = {"type": "function", "function": {"name": chance.choice((names[0], "other"))}}
    return {"tools": tools, "tool_choice": chance.choice(("auto", "required", "none", named))}


def _native(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a message in the service's own form."""
    calls = [{"id": call["id"], **call["function"]} for call in turn.get("tool_calls", ())]
    content = turn["content"]
    parts = (
        [
            {"type": "image", "image_url": part["image_url"]["url"]} if part["type"] == "image_url" else part
            for part in content
        ]
        if isinstance(content, list)
        else content or ""
    )
    return {**turn, "content": parts} | ({"tool_calls": calls} if calls else {})


def native(chance: Chance) -> Request:
    """Draw a request to `llm_inference`."""
    body: dict[str, Any] = {"model": MODEL, "max_tokens": chance.choice((1, 2, 8)), **_sampling(chance)}
    match chance.randrange(6):
        case 0:
            kind, body["prompt"] = "strange prompt", text(chance)
            body["raw"] = chance.random() < 0.5
        case 1:
            kind, body["prompt"], body["max_tokens"] = (
                "longer than the context",
                "word " * chance.choice((9000, 150_000)),
                chance.choice((1, 4096, 32_768)),
            )
        case 2:
            kind, data = picture(chance)
            kind = f"{PICTURE} ({kind})"
            body["messages"] = [
                {
                    "role": "user",
                    "content": [{"type": "image", "image_url": Upload(data)}] * chance.choice((1, 1, 3)),
                }
            ]
        case 3:
            kind, body["prompt"], body["response_schema"] = "schema", "x", schema(chance)
            body.pop("stop", None)
        case _:
            kind, turns = _turns(chance)
            body["messages"] = [_native(turn) for turn in turns]
    if chance.random() < 0.1:
        kind, body = f"spoiled: {kind}", spoiled(chance, body)
    return Request(
        "llm_inference",
        kind,
        "/v1/services/llm/inference",
        {**body, **options(chance)},
        leave_after=leaves(chance),
    )


def chat(chance: Chance) -> Request:
    """Draw a request to OpenAI's chat completions."""
    kind, turns = _turns(chance)
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": turns,
        "max_tokens": chance.choice((1, 2, 8)),
        "stream": chance.random() < 0.3,
        **_sampling(chance),
    }
    match chance.randrange(5):
        case 0:
            kind = f"tools; {kind}"
            body |= _tools(chance)
        case 1:
            kind = f"schema; {kind}"
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema(chance)},
            }
            body.pop("stop", None)
        case 2:
            body |= {"logprobs": True, "top_logprobs": chance.choice((0, 20, 21))}
        case _:
            pass
    return _openai(chance, "chat", kind, "/v1/chat/completions", body)


def completions(chance: Chance) -> Request:
    """Draw a request to OpenAI's completions."""
    prompt = chance.choice(
        (text(chance) or " ", ["x", "y"], [1, 2], "word " * chance.choice((90, 9000)), "\0")
    )
    body = {
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": chance.choice((1, 2, 8)),
        "logprobs": chance.choice((0, 5, None)),
        "stream": chance.random() < 0.3,
    }
    return _openai(chance, "completions", "strange prompt", "/v1/completions", body | _sampling(chance))


def responses(chance: Chance) -> Request:
    """Draw a request to OpenAI's responses."""
    url = _picture_url(chance)[1] if chance.random() < 0.2 else addresses(chance)
    arguments = chance.choice(_ARGUMENTS)
    call = {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": arguments}
    output = {"type": "function_call_output", "call_id": chance.choice(("c", "d")), "output": text(chance)}
    kinds: dict[str, Any] = {
        "strange text": text(chance),
        ARGUMENTS: [{"role": "user", "content": "x"}, call, output],
        "result without a call": [output],
        PICTURE: [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}],
        "odd items": [
            chance.choice(ODD_VALUES),
            {"type": "reasoning", "summary": []},
            {"type": "item_reference", "id": "x"},
        ],
        "longer than the context": "word " * chance.choice((9000, 60_000)),
    }
    kind = chance.choice(list(kinds))
    body: dict[str, Any] = {
        "model": MODEL,
        "input": kinds[kind],
        "max_output_tokens": chance.choice((1, 8)),
        "stream": chance.random() < 0.3,
    }
    if chance.random() < 0.3:
        kind = f"schema; {kind}"
        body["text"] = {"format": {"type": "json_schema", "name": "x", "schema": schema(chance)}}
    if chance.random() < 0.2:
        kind = f"tools; {kind}"
        body["tools"] = [{"type": "function", "name": "look_up", "parameters": schema(chance)}]
    return _openai(chance, "responses", kind, "/v1/responses", body)


def _openai(chance: Chance, service: str, kind: str, path: str, body: dict[str, Any]) -> Request:
    if chance.random() < 0.1:
        kind, body = f"spoiled: {kind}", spoiled(chance, body)
    return Request(service, kind, path, {**body, **options(chance)}, leave_after=leaves(chance))


def embeddings(chance: Chance) -> Request:
    """Draw a request for embeddings, native or in OpenAI's form."""
    kinds: dict[str, Any] = {
        "strange texts": [text(chance) or "x" for _ in range(chance.randint(1, 20))],
        "no texts": chance.choice(([], "", [""], None, [1, 2], [[1]])),
        "huge text": chance.choice(("word ", "\u4e2d", "\0", "\U0001f469"))
        * chance.choice((600, 10_000, 200_000)),
        "many texts": [chance.choice(("x", "\0", "\ud800", " "))] * chance.choice((40, 40, 40, 512, 513)),
        "blank texts": [chance.choice((" ", "\n", "\u200b", "\ufeff", "\x80"))] * 3,
    }
    kind = chance.choice(list(kinds))
    value = kinds[kind]
    openai = chance.random() < 0.5
    body: dict[str, Any] = {
        "model": "all-minilm-l6-v2",
        "input": [value] if isinstance(value, str) and not openai else value,
    }
    if chance.random() < 0.4:
        body["dimensions"] = chance.choice((1, 2, 384, 385, 16_384, 0))
    if openai and chance.random() < 0.5:
        body["encoding_format"] = chance.choice(("base64", "float", "x"))
    if chance.random() < 0.1:
        kind, body = f"spoiled: {kind}", spoiled(chance, body)
    path = "/v1/embeddings" if openai else "/v1/services/text/embedding"
    return Request("text_embedding", kind, path, {**body, **options(chance)}, leave_after=leaves(chance))


def sockets(chance: Chance) -> Request:
    """Draw messages on the WebSocket."""
    drawn: list[str | bytes] = [
        "", "{", "[]", "null", "\0", b"\xff\xfe", "x" * 70_000, "[" * 5000, '{"type": "subscribe", "types": ["x"]}', '{"type": "subscribe", "job_ids": ["' + "x" * 900 + '"]}',
        '{"type": "auth", "token": "x"}', '{"type": "subscribe", "after": -1}', '{"type": "subscribe", "after": 1e999}', '{"type": "subscribe"}', '{"type": "\\ud800"}',
        json.dumps({"type": "subscribe", "job_ids": ["job_x"] * 1001}), json.dumps({"type": chance.choice(ODD_VALUES[:12])}),
    ]  # fmt: skip
    query = chance.choice(
        (
            "",
            "?after=x",
            "?after=-1",
            "?types=x",
            "?job_ids=%00",
            "?after=99999999999999999999",
            "?x=1",
            "?token=",
        )
    )
    return Request(
        "stream", "messages", f"/ws{query}", messages=chance.choices(drawn, k=chance.randint(1, 5))
    )
