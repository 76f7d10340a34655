"""JSON schemas that an answer must follow, enforced by llguidance in every engine.

llguidance removes the next tokens that a schema does not allow. It refuses keywords that it does not enforce, so that an answer
never deviates from the client's schema, and bounds the work for a schema by itself; the size is limited here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

MAX_SCHEMA_BYTES = 32_768

MAX_COUNT = 2000
"""Largest number of elements or properties in a schema; llguidance takes memory and time for each."""

_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_LISTED = frozenset(("anyOf", "oneOf", "prefixItems"))
_SINGLE = frozenset(("items", "additionalProperties"))
"""Keywords whose values contain schemas: by name, in a list, and alone."""

_OPEN = frozenset(
    ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref")
)
"""Keywords that say which other properties an object may have."""

_COUNTS = frozenset(("minItems", "maxItems", "minProperties", "maxProperties"))

_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Without free whitespace, a small model cannot fill its answer with blanks."""


_SchemaT = TypeVar("_SchemaT", bound=Mapping[str, Any])


def parse_schema(value: Any) -> Any:
    """Return the schema of a JSON text; other values unchanged. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_SCHEMA_BYTES:
        raise ValueError(f"it has {len(value)} characters; the limit is {MAX_SCHEMA_BYTES} bytes")
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("it is a text, but not that of a JSON Schema") from None


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return a schema as JSON text, with its properties in their order."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def check_schema(schema: _SchemaT) -> _SchemaT:
    """Return `schema`. Raises `ValueError` that names what cannot be enforced in it, or why no value can follow it."""
    try:
        size = len(json.dumps(schema, allow_nan=False).encode())
        if size > MAX_SCHEMA_BYTES:
            raise ValueError(f"it has {size} bytes; the limit is {MAX_SCHEMA_BYTES}")
        _check_counts(schema)
        text = grammar(schema)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    from llguidance import LLMatcher  # noqa: PLC0415 - a native library, for the requests that need it

    refused, messages = LLMatcher.validate_grammar_with_warnings(text)
    if refused:
        # "at 2(8): failed to compile JSON schema: REASON", then lines of the grammar.
        reason = messages[0].partition("\n   1 |")[0]
        raise ValueError(" ".join((reason.partition("JSON schema: ")[2] or reason).split())[:500])
    return schema


def _check_counts(part: Any) -> None:
    if isinstance(part, Mapping):
        for name in _COUNTS & part.keys():
            if isinstance(part[name], int | float) and part[name] > MAX_COUNT:
                raise ValueError(f"{name} is {part[name]}; the limit is {MAX_COUNT}")
    children = part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
    for child in children:
        _check_counts(child)


def grammar(schema: Mapping[str, Any]) -> str:
    """Return llguidance's grammar of the JSON texts that follow a schema."""
    return f"%llguidance {{}}\nstart: {_json(schema)}"


def call_grammar(tools: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the grammar of one call of a tool as JSON, `{"name": NAME, "arguments": {...}}`; `tools` maps names to schemas."""
    rules = [
        f"call_{number}: {json.dumps(_call(name))} {_json(schema)} {json.dumps('}')}"
        for number, (name, schema) in enumerate(tools.items())
    ]
    choice = " | ".join(f"call_{number}" for number in range(len(rules)))
    return "\n".join(("%llguidance {}", f"start: {choice}", *rules))


def _call(name: str) -> str:
    return f'{{"name": {json.dumps(name)}, "arguments": '


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**_closed(schema), 'x-guidance': _COMPACT})}"


def _closed(schema: Any) -> Any:
    """Return a schema whose objects have only the listed properties, unless it says otherwise.

    JSON Schema would allow any others, and a model at a high temperature does not stop to invent them.
    """
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, Mapping):
            made[keyword] = {name: _closed(part) for name, part in value.items()}
        elif keyword in _LISTED and isinstance(value, list):
            made[keyword] = [_closed(part) for part in value]
        else:
            made[keyword] = _closed(value) if keyword in _SINGLE else value
    if "properties" in made and not _OPEN & made.keys():
        made["additionalProperties"] = False
    return made
