"""Validation errors in the user's words: one sentence for each field, with an example of a valid value instead of a pattern.

Sentences repeat the beginnings of wrong values, so they must not leave a process that reads what others may not, such as a sealed job's.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Final, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from runners.errors import WrongField
from runners.near_names import nearest

MAX_SHOWN: Final = 40
"""Characters of a wrong value that a sentence repeats."""
MAX_NAME: Final = 100
"""Characters of an unknown field's name that an answer repeats."""
MAX_DISTINCT: Final = 3
"""How many alternatives of a field's type a sentence names."""
MAX_FIELDS: Final = 20
"""Fields whose errors an answer names."""
MAX_NAMES: Final = 200
"""Fields of a request's outermost objects; no call has as many."""
MAX_SUGGESTED: Final = 5
"""Unknown fields for which similar names are sought."""
MORE: Final = "..."
"""The key of the sentence that says how many errors an answer leaves out."""

_KINDS: Final = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "finite_number": "a finite number",
}
"""What a field must be, by the beginning of the error's type."""
_LIMITS: Final = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_LENGTHS: Final = {
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
    "too_short": ("min_length", "at least", "entry"),
    "too_long": ("max_length", "at most", "entry"),
}
_PLURALS: Final = {"character": "characters", "entry": "entries"}


@dataclass(frozen=True, slots=True)
class _Declared:
    """A position in a model: the field's types, and values that it may have."""

    types: tuple[Any, ...] = ()
    examples: tuple[Any, ...] = ()

    def models(self) -> list[type[BaseModel]]:
        return [kind for kind in self.types if isinstance(kind, type) and issubclass(kind, BaseModel)]


def too_many_fields(value: Any) -> str | None:
    """Return the error of an object with many more fields than any request has, without looking for that of each field."""
    if not isinstance(value, Mapping) or len(value) <= MAX_NAMES:
        return None
    return f"it has {len(value)} fields, and no request has more than {MAX_NAMES}"


def field_errors(error: ValidationError, prefix: str = "", model: Any = None) -> dict[str, str]:
    """Return one sentence for each dotted field with an error. `model` is the type that was validated, for its examples."""
    return sentences(error.errors(include_url=False), prefix, model)


def sentences(
    errors: Iterable[ErrorDetails], prefix: str = "", model: Any = None, examples: Sequence[Any] = ()
) -> dict[str, str]:
    """Return one sentence for each dotted field in pydantic's errors. `examples` are those of fields that have no model.

    A field that may have one of several types has one error for each of them; their sentences are joined. Of many wrong fields, the first
    `MAX_FIELDS` are named, and one more sentence counts the other errors.
    """
    sentences_by_path: dict[str, list[str]] = {}
    left_out = 0
    for item in errors:
        if (
            len(sentences_by_path) > MAX_FIELDS
        ):  # one more, so that all errors of the last field are in its sentence
            left_out += 1
            continue
        path, declared = _located(item["loc"], model, is_extra=item["type"] == "extra_forbidden")
        declared = declared if declared.examples else replace(declared, examples=tuple(examples))
        # Looking for similar names takes longer than everything else here.
        suggested = item["type"] == "extra_forbidden" and len(sentences_by_path) < MAX_SUGGESTED
        sentence = _sentence(item, declared, _siblings(item["loc"], model) if suggested else ())
        if isinstance(wrong := item.get("ctx", {}).get("error"), WrongField):
            path = f"{path}.{wrong.field}" if path else wrong.field
            # The field is named beside its error.
            sentence = sentence.removeprefix(f"{wrong.field} ")
        # The field that decides between the members of a union. A function that does so has no name for a user.
        discriminator = str(item.get("ctx", {}).get("discriminator", "()")).strip("'")
        if not discriminator.endswith(")"):
            path = f"{path}.{discriminator}"
        of_field = sentences_by_path.setdefault(prefix + path if path else prefix.rstrip(".") or "body", [])
        if sentence not in of_field:
            of_field.append(sentence)
    # The limit keeps an answer short that somebody must read, and its time bounded for a request of a stranger.
    if len(sentences_by_path) > MAX_FIELDS:
        sentences_by_path.popitem()
        left_out += 1
    joined = {path: _joined(of_field[:MAX_DISTINCT]) for path, of_field in sentences_by_path.items()}
    if left_out:
        errors_are = "error is" if left_out == 1 else "errors are"
        joined[MORE] = f"{left_out} more {errors_are} not shown; correct these first"
    return joined


def _joined(sentences_of_field: Sequence[str]) -> str:
    """Join the sentences of a union's members: "must be text, not 3" and "must be a list, not 3" to "must be text or a list, not 3"."""
    split = [sentence.removeprefix("must be ").rsplit(", not ", 1) for sentence in sentences_of_field]
    alike = all(sentence.startswith("must be ") and ", not " in sentence for sentence in sentences_of_field)
    if alike and len({parts[-1] for parts in split}) == 1:
        return f"must be {' or '.join(parts[0] for parts in split)}, not {split[0][-1]}"
    return ", or ".join(sentences_of_field)


def _located(loc: Sequence[int | str], model: Any, *, is_extra: bool = False) -> tuple[str, _Declared]:
    """Return the dotted path of an error, without the names of a union's members, and its declaration in the model.

    `is_extra`: its last part is a name that the model does not have.
    """
    declared = around = _declared(model)
    path: list[str] = []
    for position, part in enumerate(loc):
        if part == "[key]":  # the error is in the key itself
            return ".".join(path), _keys(around)
        # Without a declaration, each part of the path is a name of the request.
        is_declared = bool(declared.types)
        inner = _inside(declared, part)
        if inner is None and is_declared and not (is_extra and position == len(loc) - 1):
            continue  # the name of a member of a union
        path.append(str(part)[:MAX_NAME])
        declared, around = inner or _Declared(), declared
    return ".".join(path), declared


def _keys(declared: _Declared) -> _Declared:
    """Return the declaration of an object's keys."""
    members = [typing.get_args(kind) for kind in declared.types if typing.get_origin(kind) in (dict, Mapping)]
    return _declared(members[0][0]) if members and members[0] else _Declared()


def _siblings(loc: Sequence[int | str], model: Any) -> list[str]:
    """Return the fields that the object around an error may have."""
    _, declared = _located(loc[:-1], model)
    return [
        field.alias or name
        for model_type in declared.models()
        for name, field in model_type.model_fields.items()
    ]


def _declared(annotation: Any, examples: Iterable[Any] = ()) -> _Declared:
    types: list[Any] = []
    all_examples = list(examples)
    waiting = [] if annotation is None else [annotation]
    while waiting:
        annotation_part = waiting.pop(0)
        origin = typing.get_origin(annotation_part)
        if origin is Annotated:
            annotation_part, *notes = typing.get_args(annotation_part)
            all_examples += [
                value for note in notes if isinstance(note, FieldInfo) for value in note.examples or ()
            ]
            waiting.insert(0, annotation_part)
        elif origin in (Union, UnionType):
            waiting += [member for member in typing.get_args(annotation_part) if member is not type(None)]
        else:
            types.append(annotation_part)
    return _Declared(tuple(types), tuple(all_examples))


def _inside(declared: _Declared, part: int | str) -> _Declared | None:
    """Return the declaration of an object's field or a list's entry, or None if no type has it."""
    for model in declared.models():
        field = model.model_fields.get(str(part)) or next(
            (field for field in model.model_fields.values() if field.alias == part), None
        )
        if field is not None:
            examples = [*(field.examples or ()), *_model_examples(model, str(part))]
            return _declared(field.annotation, examples)
    for kind in declared.types:
        origin, members = typing.get_origin(kind), typing.get_args(kind)
        if isinstance(part, int) and members and origin in (list, tuple, Sequence, set, frozenset):
            return _declared(members[0])
        if isinstance(part, str) and origin in (dict, Mapping) and len(members) > 1:
            return _declared(members[1])
    return None


def _model_examples(model: type[BaseModel], name: str) -> list[Any]:
    # Examples of a whole request show also what its fields look like.
    extra = model.model_config.get("json_schema_extra")
    requests = extra.get("examples", ()) if isinstance(extra, Mapping) else ()
    return [request[name] for request in requests if isinstance(request, Mapping) and name in request]  # type: ignore[union-attr]


def _sentence(item: ErrorDetails, declared: _Declared, siblings: Sequence[str]) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    if kind == "extra_forbidden":
        near = nearest(str(item["loc"][-1]), siblings)
        return f"is unknown; did you mean {near}?" if near else "is unknown; remove it"
    if kind in _LIMITS or kind in _LENGTHS:
        return _limit(kind, context, value)
    kind_words = _KINDS.get(kind.rsplit("_", 1)[0]) or _KINDS.get(kind)
    sentences: dict[str, Callable[[], str]] = {
        "missing": lambda: f"is required{_such_as(declared)}",
        "literal_error": lambda: _choice(str(context["expected"]), value),
        "enum": lambda: _choice(str(context["expected"]), value),
        "string_pattern_mismatch": lambda: f"cannot be {_shown(value)}; write it{_like(declared)}",
        "union_tag_invalid": lambda: _choice(str(context["expected_tags"]), context["tag"]),
        "union_tag_not_found": lambda: "is required",
    }
    if kind in sentences:
        return sentences[kind]()
    if kind_words is not None:
        return f"must be {kind_words}{_such_as(_of_kind(declared, kind_words))}, not {_described(value)}"
    return item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _limit(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"must be {words} {context[name]:g}, not {_shown(value)}"
    name, words, noun = _LENGTHS[kind]
    limit = context[name]
    return f"must have {words} {limit} {noun if limit == 1 else _PLURALS[noun]}"


def _of_kind(declared: _Declared, kind_words: str) -> _Declared:
    """Return the declaration with only the examples of a kind in `_KINDS`."""
    kinds = {
        "text": str,
        "a whole number": int,
        "a number": int | float,
        "a list": list | tuple,
        "an object": Mapping,
    }
    kind = kinds.get(kind_words, ())
    return replace(declared, examples=tuple(value for value in declared.examples if isinstance(value, kind)))


def _choice(expected: str, value: Any) -> str:
    """Return the sentence for a value that is not one of several. `expected` is like `'a', 'b' or 'c'`."""
    names = [name for name in expected.replace(" or ", ", ").split(", ") if name]
    plain = [name.strip("'") for name in names]
    near = nearest(value, plain) if isinstance(value, str) else None
    hint = f"; did you mean {near}?" if near else ""
    choices = f"{', '.join(plain[:-1])} or {plain[-1]}" if len(plain) > 1 else names[0].replace("'", '"')
    return f"must be {choices}, not {_shown(value)}{hint}"


def _such_as(declared: _Declared) -> str:
    return f", such as {_shown(declared.examples[0])}" if declared.examples else ""


def _like(declared: _Declared) -> str:
    if not declared.examples:
        return " with letters, digits and -, . or _"
    return f" like {' or '.join(_shown(value) for value in declared.examples[:2])}"


def _described(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping | BaseModel):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return _shown(value)


def _shown(value: Any) -> str:
    """Return a value as JSON writes it, shortened."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 4]}...{text[-1]}"
