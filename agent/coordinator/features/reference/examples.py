"""Examples of whole requests and answers, assembled from the examples of their fields.

The own example of a model or field takes precedence. An optional field appears only if it has an example. A required field from which
no example follows is an error that names it, so that every route has examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.coordinator.routes._declare import SCHEMAS

Schema = Mapping[str, Any]


class NoExampleError(Exception):
    """A field has no example, and none follows from its schema. The message names the field."""


def example_of(schema: Schema, components: Mapping[str, Schema], path: str = "body") -> Any:
    """Return an example of a schema whose references are in `components`. Raises `NoExampleError`."""
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
            return example_of(schema[word][0], components, path)
    return _of_type(schema, components, path)


def _of_type(schema: Schema, components: Mapping[str, Schema], path: str) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _of_object(schema, components, path)
    if kind == "array":
        return [example_of(schema["items"], components, f"{path}[]")]
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    raise NoExampleError(f"{path} has no example. Add one to its field: `Field(examples=[...])`.")


def _of_object(schema: Schema, components: Mapping[str, Schema], path: str) -> dict[str, Any]:
    required = schema.get("required", ())
    fields = schema.get("properties", {})
    return {
        name: example_of(field, components, f"{path}.{name}")
        for name, field in fields.items()
        if name in required or "examples" in field
    }


def _ordered(value: Any, schema: Schema, components: Mapping[str, Schema]) -> Any:
    """Return the value with its fields in the schema's order."""
    if "$ref" in schema:
        return _ordered(value, components[schema["$ref"].removeprefix(SCHEMAS)], components)
    if isinstance(value, list):
        return [_ordered(item, schema.get("items", {}), components) for item in value]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {})
    # The framework drops nulls from examples; those of required fields are restored.
    present = [name for name in fields if name in value or name in schema.get("required", ())]
    names = [*present, *(name for name in value if name not in fields)]
    return {name: _ordered(value.get(name), fields.get(name, {}), components) for name in names}
