"""Whole examples of requests and answers, put together from those of their fields.

What a model or a field says itself comes first. An optional field appears only if it says an example; a required one of
which nothing can be known is an error that names it, so that no route goes without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.coordinator.openapi.declare import SCHEMAS

Schema = Mapping[str, Any]


class NoExampleError(Exception):
    """A field says nothing from which an example could be made. The message names it."""


def example_of(schema: Schema, components: Mapping[str, Schema], place: str = "body") -> Any:
    """An example of a schema whose references are `components`. Raises `NoExampleError`."""
    if "examples" in schema:
        return _ordered(schema["examples"][0], schema, components)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMAS)
        return example_of(components[name], components, name)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return example_of(schema[word][0], components, place)
    return _of_type(schema, components, place)


def _of_type(schema: Schema, components: Mapping[str, Schema], place: str) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _of_object(schema, components, place)
    if kind == "array":
        return [example_of(schema["items"], components, f"{place}[]")]
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    raise NoExampleError(f"{place} has no example: give its field one, `Field(examples=[...])`.")


def _of_object(schema: Schema, components: Mapping[str, Schema], place: str) -> dict[str, Any]:
    required = schema.get("required", ())
    fields = schema.get("properties", {})
    return {
        name: example_of(field, components, f"{place}.{name}")
        for name, field in fields.items()
        if name in required or "examples" in field
    }


def _ordered(value: Any, schema: Schema, components: Mapping[str, Schema]) -> Any:
    """The value with its fields in the order in which the schema declares them."""
    if "$ref" in schema:
        return _ordered(value, components[schema["$ref"].removeprefix(SCHEMAS)], components)
    if isinstance(value, list):
        return [_ordered(item, schema.get("items", {}), components) for item in value]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {})
    # The framework drops nulls from examples; where one is required it is put back.
    present = [name for name in fields if name in value or name in schema.get("required", ())]
    names = [*present, *(name for name in value if name not in fields)]
    return {name: _ordered(value.get(name), fields.get(name, {}), components) for name in names}
