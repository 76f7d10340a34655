"""JSON schemas that an answer must follow, enforced by llguidance in every engine.

llguidance removes the next tokens that a schema does not allow. It refuses keywords that it does not enforce, so that an answer
never deviates from the client's schema (an unknown `format` is an annotation), and bounds the work for a schema by itself; the size is limited here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from runners.llm.call_syntax import PLAIN, CallSyntax

MAX_SCHEMA_BYTES = 32_768

MAX_COUNT = 2000
"""Largest number of elements or properties in a schema; llguidance takes memory and time for each."""

_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_LISTED = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_SINGLE = frozenset(("items", "additionalProperties"))
"""Keywords whose values contain schemas: by name, in a list, and alone."""

_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))

_OPEN = frozenset(
    ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref")
)
"""Keywords that say which other properties an object may have."""

FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"))
"""The formats of texts that llguidance enforces in every engine; the one in llama.cpp knows no others."""

_PLAIN = frozenset(
    (
        *("type", "required", "enum", "const", "minItems", "maxItems", "minLength", "maxLength", "$ref"),
        *("title", "description", "default", "examples", "$schema", "$id", "$comment"),
    )
)
"""Keywords that llama.cpp's own grammars enforce as they stand, and annotations."""

_PLAIN_FORMATS = frozenset(("date-time", "time", "date", "uuid"))

MAX_CALLS = 16
"""Calls of one answer."""

ANY_ARGUMENTS: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
"""The schema of arguments that need not follow the function's: those of calls that are not required."""

MAX_DEPTH = 64
"""Levels of nesting of a schema, as in other JSON of a request."""

_COUNTS = frozenset(("minItems", "maxItems", "minProperties", "maxProperties"))
_RANGES = tuple((f"min{noun}", f"max{noun}") for noun in ("Length", "Items", "Properties"))
_REPETITION = re.compile(r"\{0*(\d+),0*(\d+)\}")
"""A repetition in a regular expression, with its least and its largest number."""

MAX_GRAMMAR = 8192
"""Characters of a grammar: the time to read one grows with the square of its rules."""

GRAMMAR = "%llguidance {}\n"
"""The beginning of llguidance's grammars."""

_QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])*/')
_GBNF_PART = re.compile(r'("(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\])|#[^\n]*')
_NUMBERED = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_SLASH = re.compile(r"\\.|/")

_UNKNOWN = re.compile(r"Unimplemented keys: \[(.*)\]")
"""llguidance's reason to refuse a schema that has keywords which it does not know."""

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


def bounded(schema: _SchemaT) -> _SchemaT:
    """Return `schema`. Raises `ValueError` if engines would take much memory or time for it."""
    try:
        size = len(json.dumps(schema, allow_nan=False).encode())
        if size > MAX_SCHEMA_BYTES:
            raise ValueError(f"it has {size} bytes; the limit is {MAX_SCHEMA_BYTES}")
        _check_counts(schema)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return schema


def check_schema(schema: _SchemaT) -> _SchemaT:
    """Return `schema`. Raises `ValueError` that names what cannot be enforced in it, or why no value can follow it."""
    bounded(schema)
    _compile(grammar(schema))
    return schema


def in_version_0_2(schema: Mapping[str, Any], *, compiled: bool) -> bool:
    """Return whether agents of version 0.2 accept a schema: they enforce all of it or refuse it. `compiled`: it has passed `check_schema`."""
    if _enforced(schema, annotations=True) != _enforced(schema):
        return False
    try:
        if not compiled:
            check_schema(schema)
    except ValueError:
        return False
    return True


def check_calls(tools: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `ValueError` if a call of one of these tools cannot be enforced; `tools` maps names to schemas."""
    for name, schema in tools.items():
        try:
            # One at a time first, so that the error can name the tool.
            _compile(call_grammar({name: schema}))
        except ValueError as error:
            raise ValueError(
                f"a call of {name} cannot be enforced ({error}); simplify its parameters, or let tool_choice be auto"
            ) from None
    # Each may be small enough, and all together too large.
    if len(tools) > 1:
        _compile(call_grammar(tools))


def check_grammar(text: str) -> str:
    """Return llguidance's grammar of a grammar in GBNF, or in Lark's form as llguidance reads it. Raises `ValueError` if it is none."""
    from llguidance.gbnf_to_lark import gbnf_to_lark, is_lark_syntax  # noqa: PLC0415 - as in `_compile`

    if len(text) > MAX_GRAMMAR:
        raise ValueError(f"it has {len(text)} characters; the limit is {MAX_GRAMMAR}")
    body = text.removeprefix(GRAMMAR)
    # One that another machine has read already is in Lark's form.
    is_lark = text != body or is_lark_syntax(body)
    # Outside of texts and patterns, it may not bring schemas and options of llguidance, whose size is not checked here.
    if is_lark and "%" in _QUOTED.sub("", body):
        raise ValueError("directives, which begin with %, are not possible")
    try:
        converted = body if is_lark else gbnf_to_lark(_without_comments(body))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - the converter raises errors of no class of its own
        raise ValueError(" ".join(f"it is no grammar in GBNF: {error}".split())[:300]) from None
    made = GRAMMAR + converted.removeprefix(GRAMMAR).lstrip()
    _compile(made)
    return made


def regex_grammar(pattern: str) -> str:
    """Return the grammar of the texts that a regular expression matches as a whole. Raises `ValueError` if it cannot be enforced."""
    if not pattern or len(pattern) > MAX_GRAMMAR:
        raise ValueError(f"it has {len(pattern)} characters; 1 to {MAX_GRAMMAR} are possible")
    whole = pattern.removeprefix("^")
    if whole.endswith("$") and not whole.endswith("\\$"):
        whole = whole[:-1]
    # A slash would end the expression, unless the client has escaped it already.
    made = f"{GRAMMAR}start: /{_SLASH.sub(lambda match: match[0] if len(match[0]) > 1 else chr(92) + '/', whole)}/"
    _compile(made)
    return made


def choice_grammar(choices: Sequence[str]) -> str:
    """Return the grammar of texts of which the answer is one. Raises `ValueError` if they are too long."""
    return check_grammar(f"{GRAMMAR}start: {' | '.join(json.dumps(choice) for choice in choices)}")


def _without_comments(gbnf: str) -> str:
    """Return a grammar without its comments, which the converter expects only between rules, and with characters instead of their numbers."""
    text = _GBNF_PART.sub(lambda match: match[1] or "", gbnf)
    return _NUMBERED.sub(lambda match: chr(int(match[1] or match[2], 16)), text)


def _compile(text: str) -> None:
    from llguidance import LLMatcher  # noqa: PLC0415 - a native library, for the requests that need it

    refused, messages = LLMatcher.validate_grammar_with_warnings(text)
    if refused:
        # "at 2(8): failed to compile JSON schema: REASON", then lines of the grammar.
        reason = re.split(r"\n +\d+ \|", messages[0], maxsplit=1)[0]
        raise ValueError(_in_words(" ".join((reason.partition("JSON schema: ")[2] or reason).split()))[:500])


def _in_words(reason: str) -> str:
    """Return llguidance's reason in the words of JSON Schema."""
    if unknown := _UNKNOWN.fullmatch(reason):
        return f"these keywords cannot be enforced: {unknown[1]}"
    if reason.startswith("oneOf constraints"):
        return "oneOf can be enforced only if its schemas exclude each other, by a property with another const in each; use anyOf"
    if "look-around" in reason:
        return "a pattern with look-around cannot be enforced"
    return reason


def _check_counts(part: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(part, Mapping):
        for name in _COUNTS & part.keys():
            if isinstance(part[name], int | float) and part[name] > MAX_COUNT:
                raise ValueError(f"{name} is {part[name]}; the limit is {MAX_COUNT}")
        _check_ranges(part)
    children = part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
    for child in children:
        _check_counts(child, depth + 1)


def _check_ranges(part: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a range that ends before it begins: llama.cpp would write rules for it until memory runs out."""
    for least, most in _RANGES:
        start, end = part.get(least), part.get(most)
        if isinstance(start, int | float) and isinstance(end, int | float) and start > end:
            raise ValueError(f"{least} is {start}, which is more than {most}, {end}: no value can follow it")
    patterns = [part.get("pattern")]
    if isinstance(properties := part.get("patternProperties"), Mapping):
        patterns += properties
    for pattern in patterns:
        for start, end in _REPETITION.findall(pattern) if isinstance(pattern, str) else ():
            # As texts: Python refuses to read thousands of digits.
            if (len(start), start) > (len(end), end):
                raise ValueError(f"the pattern repeats a part at least {start} and at most {end} times"[:200])


def grammar(schema: Mapping[str, Any]) -> str:
    """Return llguidance's grammar of the JSON texts that follow a schema."""
    return f"%llguidance {{}}\nstart: {_json(schema)}"


def call_grammar(
    tools: Mapping[str, Mapping[str, Any]],
    syntax: CallSyntax = PLAIN,
    *,
    several: bool = False,
    form: Mapping[str, Any] | None = None,
) -> str:
    """Return the grammar of a call, or of `several`; `tools` maps names to schemas. With the schema `form`, the answer may also be JSON of that form."""
    openings = [json.dumps(syntax.prefix + name + syntax.middle) for name in tools]
    ending = json.dumps(syntax.suffix) if syntax.suffix else ""
    rules = [
        f"call_{number}: {opening} {_json(schema)} {ending}"
        for number, (opening, schema) in enumerate(zip(openings, tools.values(), strict=True))
    ]
    calls = "call"
    if several and syntax.separator is not None:
        separator = json.dumps(syntax.separator) if syntax.separator else ""
        calls = f"call ({separator} call){{0,{MAX_CALLS - 1}}}"
    choice = " | ".join(f"call_{number}" for number in range(len(rules)))
    text = "" if form is None else f" | {_json(form)}"
    return "\n".join(("%llguidance {}", f"start: {calls}{text}", f"call: {choice}", *rules))


def readable_schema(schema: Any) -> Any:
    """Return a schema of arguments without the parts for which llama.cpp refuses a request: references that lead nowhere, types that JSON does not have.

    Calls that must follow a schema follow all of it all the same; where they need not, models read it only.
    """

    def readable(part: Any) -> Any:
        if isinstance(part, bool):
            return {}
        if not isinstance(part, Mapping):
            return part
        can_be_read: Mapping[str, Callable[[Any], bool]] = {
            "$ref": partial(_resolves, schema),
            "type": _is_type,
        }
        return {
            keyword: _converted(keyword, value, readable)
            for keyword, value in part.items()
            if keyword not in can_be_read or can_be_read[keyword](value)
        }

    return readable(schema)


def _converted(keyword: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    """Return the value of a keyword of a schema, with the schemas in it converted."""
    if keyword in _NAMED and isinstance(value, Mapping):
        return {name: convert(part) for name, part in value.items()}
    if keyword in _LISTED and isinstance(value, list):
        return [convert(part) for part in value]
    return convert(value) if keyword in _SINGLE and not isinstance(value, bool) else value


def _is_type(value: Any) -> bool:
    return all(
        isinstance(name, str) and name in _TYPES for name in (value if isinstance(value, list) else [value])
    )


def _resolves(schema: Any, reference: Any) -> bool:
    """Return whether a reference leads to a part of a schema."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    part = schema
    for name in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(part, Mapping) or name not in part:
            return False
        part = part[name]
    return isinstance(part, Mapping)


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema for builds of llama.cpp without llguidance, None if their grammars ignore or refuse a part of it."""
    enforced = _enforced(schema)
    return enforced if _is_plain(enforced) else None


def plain_calls(
    tools: Mapping[str, Mapping[str, Any]], form: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the schema of one call of a tool as `call_grammar` describes it, for builds without llguidance; None as in `plain_schema`."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": schema},
            "required": ["name", "arguments"],
        }
        for name, schema in tools.items()
    ]
    return plain_schema({"anyOf": calls if form is None else [*calls, form]})


def _is_plain(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return isinstance(schema, bool)
    for keyword, value in schema.items():
        match keyword:
            case "properties" | "$defs" | "definitions":
                plain = all(map(_is_plain, value.values()))
            case "anyOf":
                plain = all(map(_is_plain, value))
            case "items" | "additionalProperties":
                plain = _is_plain(value)
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
                plain = schema.get("type") == "integer"
            case "format":
                plain = value in _PLAIN_FORMATS
            case _:
                plain = keyword in _PLAIN
        if not plain:
            return False
    return True


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**_enforced(schema), 'x-guidance': _COMPACT})}"


def _enforced(schema: Any, *, closed: bool = True, annotations: bool = False) -> Any:
    """Return what is enforced of a schema, and with `annotations` also what is not.

    Formats that not all engines know are annotations, as JSON Schema says. `closed` objects have only the listed properties, unless the
    schema says otherwise: JSON Schema would allow any others, and a model at a high temperature does not stop to invent them.
    """
    if not isinstance(schema, Mapping):
        return schema
    enforced = {
        # The parts of allOf describe one object together.
        keyword: _converted(
            keyword,
            value,
            partial(_enforced, closed=closed and keyword != "allOf", annotations=annotations),
        )
        for keyword, value in schema.items()
        if annotations or not _is_annotation(keyword, value)
    }
    if not annotations:
        enforced = _with_names(enforced)
    if closed and "properties" in enforced and not _OPEN & enforced.keys():
        enforced["additionalProperties"] = False
    return enforced


def _with_names(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which a list of `propertyNames`, or their pattern, is what the properties say: a record, as many libraries write it."""
    names, values = schema.get("propertyNames"), schema.get("additionalProperties", {})
    if not isinstance(names, Mapping) or {"properties", "patternProperties"} & schema.keys():
        return schema
    record = {keyword: value for keyword, value in schema.items() if keyword != "propertyNames"}
    match {keyword: value for keyword, value in names.items() if (keyword, value) != ("type", "string")}:
        case {"enum": list(listed), **more_keywords} if not more_keywords and all(
            isinstance(name, str) for name in listed
        ):
            return {**record, "properties": dict.fromkeys(listed, values), "additionalProperties": False}
        case {"pattern": str(pattern), **more_keywords} if not more_keywords:
            return {**record, "patternProperties": {pattern: values}, "additionalProperties": False}
    return schema


def _is_annotation(keyword: str, value: Any) -> bool:
    """Return whether a keyword restricts nothing that could be enforced: an unknown format, or that names are texts, as all are."""
    if keyword == "format":
        return not isinstance(value, str) or value not in FORMATS
    return keyword == "propertyNames" and value in ({}, True, {"type": "string"})
