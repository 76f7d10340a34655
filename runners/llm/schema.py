"""The JSON schemas that a request may require of its answer.

The grammar library ignores unknown keywords, so the answer might not match the client's schema. Therefore only the
keywords that it enforces are listed here, and any other is refused by name. The limits bound the
compilation of an untrusted schema to a fraction of a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_SCHEMA_BYTES = 32_768
MAX_SCHEMA_DEPTH = 32
MAX_LENGTH = 2000
"""Largest count in a schema: characters of a text, elements of an array."""

_ANNOTATIONS = frozenset(
    (
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
    )
)
_RANGE = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
_BY_TYPE: Mapping[str, frozenset[str]] = {
    "string": frozenset(("minLength", "maxLength")),
    "integer": _RANGE,
    "number": _RANGE,
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems")),
    "object": frozenset(("properties", "required", "additionalProperties")),
}
_NAMES = {
    type(None): "null", bool: "boolean", float: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip
_DECISIVE = ("$ref", "anyOf", "enum", "const")
"""Keywords that fully determine a value; they allow only annotations beside them, the last two also a type."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise `ValueError` that names the first part of `schema` that the engine cannot enforce."""
    try:
        size = len(json.dumps(schema, allow_nan=False).encode())
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_SCHEMA_DEPTH} levels deep") from None
    if size > MAX_SCHEMA_BYTES:
        raise ValueError(f"it has {size} bytes; the limit is {MAX_SCHEMA_BYTES}")
    definitions = _definitions(schema)
    for name, part in definitions.items():
        _check(part, name, definitions, 0)


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named parts of a schema by the address that `$ref` uses."""
    found: dict[str, Any] = {"#": schema}
    for key in ("$defs", "definitions"):
        named = schema.get(key, {})
        if not isinstance(named, Mapping):
            raise ValueError(f"{key} must be an object")  # noqa: TRY004 - one error type for every unfit schema
        found |= {f"#/{key}/{name}": part for name, part in named.items()}
    return found


def _check(schema: Any, where: str, definitions: Mapping[str, Any], depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise ValueError(f"at {where}: a schema must be an object")  # noqa: TRY004 - as above
    if depth > MAX_SCHEMA_DEPTH:
        raise ValueError(f"at {where}: it is nested more than {MAX_SCHEMA_DEPTH} levels deep")
    types = _types(schema, where)
    _check_keywords(schema, types, where)
    _check_reference(schema, definitions, where)
    _check_numbers(schema, where)
    _check_values(schema, types, where)
    _check_object(schema, where)
    for name, part in _parts(schema, where):
        _check(part, f"{where}/{name}", definitions, depth + 1)


def _types(schema: Mapping[str, Any], where: str) -> Sequence[str]:
    given = schema.get("type", ())
    types: Any = (given,) if isinstance(given, str) else given
    if not isinstance(types, list | tuple):
        raise ValueError(f"at {where}: type must be a name or a list of names")  # noqa: TRY004 - as above
    unknown = [name for name in types if not isinstance(name, str) or name not in _BY_TYPE]
    if unknown or ("type" in schema and not types):
        raise ValueError(f"at {where}: type must be one of {', '.join(_BY_TYPE)}")
    return types


def _check_keywords(schema: Mapping[str, Any], types: Sequence[str], where: str) -> None:
    decisive = [name for name in _DECISIVE if name in schema]
    allowed = set(_ANNOTATIONS) | {"type"}
    if decisive:
        allowed = set(_ANNOTATIONS) | {decisive[0]}
        if decisive[0] in {"enum", "const"}:
            allowed.add("type")
    else:
        for name in types:
            allowed |= _BY_TYPE[name]
    for keyword in schema:
        if keyword not in allowed:
            beside = f"for type {'/'.join(types)}" if types else "without a type"
            beside = f"beside {decisive[0]!r}" if decisive else beside
            raise ValueError(f"at {where}: the keyword {keyword!r} is not supported {beside}")


def _check_reference(schema: Mapping[str, Any], definitions: Mapping[str, Any], where: str) -> None:
    seen = set()
    followed: Any = schema
    while isinstance(followed, Mapping) and "$ref" in followed:
        target = followed["$ref"]
        if not isinstance(target, str) or target not in definitions:
            raise ValueError(f"at {where}: $ref must name an entry of the schema's own $defs")
        if target in seen:
            raise ValueError(f"at {where}: $ref refers to itself")
        seen.add(target)
        followed = definitions[target]


def _check_numbers(schema: Mapping[str, Any], where: str) -> None:
    for keyword in ("minLength", "maxLength", "minItems", "maxItems"):
        value = schema.get(keyword, 0)
        if type(value) is not int or not 0 <= value <= MAX_LENGTH:
            raise ValueError(f"at {where}: {keyword} must be a whole number from 0 to {MAX_LENGTH}")
    for keyword in _RANGE:
        value = schema.get(keyword, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
            raise ValueError(f"at {where}: {keyword} must be a number within 2^53")


def _check_values(schema: Mapping[str, Any], types: Sequence[str], where: str) -> None:
    """Check `enum` and `const` against a type, which the library does not do."""
    if "enum" in schema and (not isinstance(schema["enum"], list) or not schema["enum"]):
        raise ValueError(f"at {where}: enum must be a list with at least one value")
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if types and any(not set(types) & _types_of(value) for value in values):
        raise ValueError(f"at {where}: a value of enum or const is not of the type {'/'.join(types)}")


def _types_of(value: Any) -> set[str]:
    """Return the names of the types of a JSON value."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"integer", "number"}
    return {_NAMES[type(value)]}


def _check_object(schema: Mapping[str, Any], where: str) -> None:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping):
        raise ValueError(f"at {where}: properties must be an object")  # noqa: TRY004 - as above
    if not isinstance(required, list) or any(name not in properties for name in required):
        raise ValueError(f"at {where}: required may list only names in properties")


def _parts(schema: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for keyword in ("anyOf", "prefixItems"):
        parts = schema.get(keyword, [])
        if not isinstance(parts, list) or (keyword in schema and not parts):
            raise ValueError(f"at {where}: {keyword} must be a list with at least one schema")
        yield from ((f"{keyword}/{index}", part) for index, part in enumerate(parts))
    yield from ((f"properties/{name}", part) for name, part in schema.get("properties", {}).items())
    yield from (
        (keyword, schema[keyword]) for keyword in ("items", "additionalProperties") if keyword in schema
    )
