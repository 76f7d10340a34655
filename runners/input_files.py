"""The input fields of a service that hold the address of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

FILE_MARK = "x-aitbc-file"
"""The JSON Schema keyword that marks an input field as the address of a file."""

_ARTIFACT_ID = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class InputFile:
    """Marks an input field that names a file: `Annotated[str, InputFile()]`.

    The client sends an https URL, `artifact:sha256:<hex>` or, if the field's type allows it, an `Inline` text; an artifact's id alone,
    as uploads return it, becomes such an address. The miner fetches the file before `run` and puts its path into `Context.files[path of the field]`; the field itself
    retains the client's value. With `upload` the field may be None at first: the job then waits until the client uploads the
    file. A field inside a nested model has a dotted path, in which elements of lists are numbers: "model.source",
    "messages.0.content.1.image_url".
    """

    upload: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_address, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), FILE_MARK: True}


def _address(value: Any) -> Any:
    return f"artifact:{value}" if isinstance(value, str) and _ARTIFACT_ID.fullmatch(value) else value


@cache
def fields_of(model: type[BaseModel]) -> tuple[tuple[str, InputFile], ...]:
    """Return the file fields of a model with their marks, by dotted path, in which "*" stands for each element of a list."""
    return tuple((path, mark) for path, mark in marks_of(model) if isinstance(mark, InputFile))


def marks_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the marks of all fields of a model and of those inside it, each with the field's dotted path as in `fields_of`."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        for mark in info.metadata:
            yield path, mark
        for inner_path, inner_model in _models_in(info.annotation, path):
            yield from marks_of(inner_model, f"{inner_path}.")


def _models_in(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models that a field's type contains, each with its path, in which "*" stands for each element of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
    elif get_origin(annotation) in {Annotated, UnionType, Union}:
        for option in get_args(annotation):
            yield from _models_in(option, path)
    elif get_origin(annotation) in {tuple, list}:
        for option in get_args(annotation):
            yield from _models_in(option, f"{path}.*")


def values_at(value: Any, names: Sequence[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a path's field, each with its own path."""
    name, *inner_names = names
    if name == "*":
        elements = enumerate(value) if isinstance(value, list | tuple) else ()
        for number, element in elements:
            yield from values_at(element, inner_names, f"{prefix}{number}.")
    elif not isinstance(value, Mapping):
        return
    elif inner_names:
        yield from values_at(value.get(name), inner_names, f"{prefix}{name}.")
    else:
        yield f"{prefix}{name}", value.get(name)
