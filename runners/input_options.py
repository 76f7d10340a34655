"""What inputs may contain that older agents do not know: fields and values that a service's input model got after its first version.

A miner names these options of its services when it registers, and gets no job that uses another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import core_schema

from runners.input_files import marks_of

OPTIONS = "options"
"""The feature of a miner's service that lists the options which it knows."""
SINCE = "x-aitbc-since"
"""The JSON Schema keyword with the version of the agent that added a field."""


@dataclass(frozen=True, slots=True)
class Since:
    """Marks an input field that a version of the agent has added: `Annotated[int | None, Since("0.4")] = None`.

    The field needs a default. A job with another value goes only to miners that know the field, and the specification of a job
    with the default does not contain it. With `values`, older versions know the field, but not these values of it. The mark can
    be removed when no older miner is served any more.
    """

    version: str
    values: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) if self.values else {**handler(schema), SINCE: self.version}


@cache
def options_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the options that a service's input model knows, sorted: dotted paths ("messages.*.name"), or "path=value" for a value."""
    marks = ((path, mark) for path, mark in marks_of(model) if isinstance(mark, Since))
    return tuple(
        sorted(
            option
            for path, mark in marks
            for option in ([f"{path}={value}" for value in mark.values] or [path])
        )
    )


def parameters_of(request: BaseModel) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a valid input as JSON values, as every miner that knows its options can read it, and these options."""
    parameters: dict[str, Any] = request.model_dump(mode="json")
    if not options_of(type(request)):
        return parameters, ()
    used: set[str] = set()
    _note_options(request, parameters, "", used)
    return parameters, tuple(sorted(used))


def _note_options(request: BaseModel, parameters: dict[str, Any], prefix: str, used: set[str]) -> None:
    """Add the used options to `used`, and remove unused new fields from `parameters`."""
    for name, info in type(request).model_fields.items():
        path, value = f"{prefix}{name}", getattr(request, name)
        mark = next((mark for mark in info.metadata if isinstance(mark, Since)), None)
        if mark is not None and not mark.values:
            if value == info.get_default(call_default_factory=True):
                del parameters[name]
                continue
            used.add(path)
        elif mark is not None:
            values = parameters[name] if isinstance(parameters[name], list) else [parameters[name]]
            used.update(f"{path}={new}" for new in mark.values if new in values)
        _note_inner(value, parameters[name], path, used)


def _note_inner(value: Any, plain: Any, path: str, used: set[str]) -> None:
    if isinstance(value, BaseModel) and isinstance(plain, dict):
        _note_options(value, plain, f"{path}.", used)
    elif isinstance(value, list | tuple) and isinstance(plain, list):
        for element, plain_element in zip(value, plain, strict=True):
            _note_inner(element, plain_element, f"{path}.*", used)


def needs_of(options: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return options as features that a miner's service must have, as `ServiceDefinition.needs` does."""
    return tuple((OPTIONS, option) for option in options)
