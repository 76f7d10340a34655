"""Describes each setting from the models: its key, type, unit, default and documentation.

Configuration files, documentation, `aitbc-agent config` and error messages are generated from these descriptions, so they
cannot disagree with the code.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce, singledispatch
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.core.values.quantities import Bytes, Money
from agent.sections import HIDDEN, WordedText

_BINARY: Final = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))
_UNITS_BY_ENDING: Final = {
    "_seconds": "seconds",
    "_delays": "seconds",
    "_percent": "percent",
    "_minutes": "minutes",
    "_celsius": "°C",
    "_temperature": "°C",
    "_watts": "watts",
    "_port": "",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How the values of a setting are written."""

    words: str
    """The allowed values in words: "size", "whole number, 1 to 256", "list: text"."""
    sample: str
    """An example value in TOML."""
    unit: str = ""
    choices: tuple[str, ...] = ()
    """All allowed values of a setting that accepts only certain words."""
    is_list: bool = False
    """Whether the value is a list."""
    types: tuple[Any, ...] = ()
    """The Python types of one value, without None."""
    table: type[BaseModel] | None = None
    """The model of each entry of a table by name, if the entries consist of settings."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `default` is the Python value, or None if the setting has no value by default."""

    key: str
    form: Form
    default: Any
    secret: bool

    @property
    def section(self) -> str:
        """The TOML table that contains the setting; empty for the top level."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The name within the section."""
        return self.key.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that sets the value."""
        return variable(self.key)

    def value_in(self, settings: BaseModel) -> Any:
        """Return the value in the settings that the key's first name belongs to."""
        return reduce(getattr, self.key.split("."), settings)


def variable(key: str) -> str:
    """Return the environment variable of a key."""
    return f"AITBC_{key.replace('.', '__').upper()}"


def section_model(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a section, else None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a model: first those at its own level, then section by section.

    Raises `TypeError` for a type that this module does not know.
    """
    # Sections come after the settings of their own level, since in TOML a table ends only where the next one begins.
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        below = section_model(field)
        if below is not None:
            inner.append((f"{prefix}{name}.", below))
            continue
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        yield Setting(
            key=f"{prefix}{name}",
            form=_form(name, field),
            default=field.get_default(call_default_factory=True, validated_data={}),
            secret=bool(extra.get(HIDDEN)),
        )
    for path, below in inner:
        yield from describe(below, path)


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the documentation of every section, beginning with the top level, whose name is empty."""
    yield prefix.rstrip("."), _one_line(model.__doc__ or "")
    for name, field in model.model_fields.items():
        below = section_model(field)
        if below is not None:
            yield from sections(below, f"{prefix}{name}.")


def sentences(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key and the documentation of every setting, which is in the docstring of its field, from the source code."""
    for name, docstring in _docstrings(model).items():
        yield f"{prefix}{name}", _one_line(docstring)
    for name, field in model.model_fields.items():
        below = section_model(field)
        if below is not None:
            yield from sentences(below, f"{prefix}{name}.")


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields, by name."""
    docstrings: dict[str, str] = {}
    # The bases first, so that a model's own docstring of a field replaces an inherited one.
    for kind in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        # From the source: Python discards a string below a field.
        (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
        statements = definition.body if isinstance(definition, ast.ClassDef) else []
        for field, text in pairwise(statements):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                    value=ast.Constant(value=str(docstring))
                ):
                    docstrings[name] = docstring
    return docstrings


def _one_line(docstring: str) -> str:
    """Join the lines, and replace the code's name for a missing value."""
    return re.sub(r"\bNone:", "Not set:", " ".join(docstring.split()))


@singledispatch
def written(value: Any) -> str:
    """Return a value as TOML."""
    return json.dumps(str(value), ensure_ascii=False)


@written.register
def _(value: bool) -> str:
    return str(value).lower()


@written.register(int)
@written.register(float)
def _(value: float) -> str:
    return str(value)


@written.register
def _(value: Bytes) -> str:
    return json.dumps(_size(value))


@written.register
def _(value: Money) -> str:
    return json.dumps(format(value, "f"))


@written.register
def _(value: Path) -> str:
    return json.dumps(_homely(value), ensure_ascii=False)


@written.register(Mapping)
def _(value: Mapping[str, Any]) -> str:
    inner = ", ".join(f"{json.dumps(name)} = {written(item)}" for name, item in value.items())
    return f"{{ {inner} }}" if inner else "{}"


@written.register(list)
@written.register(tuple)
@written.register(frozenset)
def _(value: Iterable[Any]) -> str:
    return f"[{', '.join(written(item) for item in value)}]"


@written.register
def _(value: BaseModel) -> str:
    return written({name: item for name, item in value if item is not None})


def _size(value: int) -> str:
    for suffix, size in _BINARY:
        if value and value % size == 0:
            return f"{value // size}{suffix}"
    return str(int(value))


def _homely(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)


def _form(name: str, field: FieldInfo) -> Form:
    form = _form_of(field.annotation, field.metadata, name)
    examples = field.examples or []
    sample = written(examples[0]) if examples else form.sample
    ending = next((unit for ending, unit in _UNITS_BY_ENDING.items() if name.endswith(ending)), None)
    return replace(form, sample=sample, unit=form.unit if ending is None else ending)


def _form_of(annotation: Any, metadata: list[Any], name: str) -> Form:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [
            note
            for item in arguments[1:]
            for note in (item.metadata if isinstance(item, FieldInfo) else [item])
        ]
        return _form_of(arguments[0], [*metadata, *inner], name)
    if origin in (Union, types.UnionType):
        return _union(tuple(kind for kind in arguments if kind is not type(None)), metadata, name)
    if origin is Literal:
        words = ", ".join(f'"{word}"' for word in arguments)
        choices = tuple(str(word) for word in arguments)
        return Form(f"one of {words}", json.dumps(arguments[0]), choices=choices, types=(str,))
    if origin in (tuple, list, frozenset):
        item = _form_of(arguments[0], [], name)
        return Form(
            f"list: {item.words}", f"[{item.sample}]", item.unit, item.choices, is_list=True, types=item.types
        )
    if origin is dict:
        item = _form_of(arguments[1], [], name)
        sample = f"{{ name = {item.sample} }}"
        return Form(f"table by name: {item.words}", sample, item.unit, types=(dict,), table=item.table)
    return _plain(annotation, metadata, name)


def _union(kinds: tuple[Any, ...], metadata: list[Any], name: str) -> Form:
    if kinds == (IPv4Network, IPv6Network):
        return Form("address or network", '"10.0.0.0/8"', types=kinds)
    forms = [_form_of(kind, metadata, name) for kind in kinds]
    return Form(
        " or ".join(form.words for form in forms),
        forms[0].sample,
        forms[0].unit,
        tuple(word for form in forms for word in form.choices),
        any(form.is_list for form in forms),
        tuple(kind for form in forms for kind in form.types),
    )


_PLAIN: Final[dict[Any, Form]] = {
    bool: Form("true or false", "true"),
    Bytes: Form("size", '"8Gi"', "bytes"),
    Money: Form("money", '"0.10"', "credits"),
    Path: Form("path", '"/path/to/it"'),
    int: Form("whole number", "1"),
    float: Form("number", "1.5"),
    Decimal: Form("number", '"1.5"'),
    str: Form("text", '"text"'),
}


def _plain(kind: Any, metadata: list[Any], name: str) -> Form:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = ", ".join(kind.model_fields)
        return Form(f"table with {inner}", "{ ... }", types=(dict,), table=kind)
    if isinstance(kind, type) and issubclass(kind, WordedText):
        return Form(kind.words, kind.sample, kind.unit, types=(kind,))
    form = _PLAIN.get(kind)
    if form is None:
        # A new type must not appear in the reference without words; a test describes all settings.
        raise TypeError(f"{name}: describe values of {kind} in agent/configuring/description.py")
    words = form.words + (_bounds(metadata) if kind in (int, float, Decimal) else "")
    return Form(words, form.sample, form.unit, types=(kind,))


_LIMITS: Final = {"gt": "above {}", "ge": "{} or more", "lt": "below {}", "le": "at most {}"}


def _bounds(metadata: list[Any]) -> str:
    """Return the range of a number to append to its type, such as ", 1 to 256"; empty if there is no range."""
    limits = {
        name: getattr(item, name)
        for item in metadata
        if isinstance(item, annotated_types.BaseMetadata)
        for name in _LIMITS
        if hasattr(item, name)
    }
    if limits.keys() == {"ge", "le"}:
        return f", {limits['ge']} to {limits['le']}"
    return "".join(f", {words.format(limits[name])}" for name, words in _LIMITS.items() if name in limits)
