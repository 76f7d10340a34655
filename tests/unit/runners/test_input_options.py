"""What a service's input model got after version 0.2.0 reaches only miners that name it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from runners.api import Since, Strict
from runners.input_options import SINCE, options_of, parameters_of
from runners.llm.request import LENIENT_SCHEMAS, InferenceRequest, needs
from runners.registry import installed

BASELINE = json.loads(
    (Path(__file__).parents[2] / "vectors" / "inputs_0_2_0.json").read_text(encoding="utf-8")
)


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of each field of an input, and of each value that a field is limited to."""
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}"
        yield from values(info.annotation, f"{prefix}{name}")


def values(annotation: Any, path: str) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from paths(annotation, f"{path}.")
    elif get_origin(annotation) is Literal:
        yield from (f"{path}={value}" for value in get_args(annotation))
    elif get_origin(annotation) in {Annotated, UnionType, Union}:
        for option in get_args(annotation):
            yield from values(option, path)
    elif get_origin(annotation) in {tuple, list}:
        for option in get_args(annotation):
            yield from values(option, f"{path}.*")


@pytest.mark.parametrize("service", sorted(BASELINE))
def test_what_was_added_to_a_service_after_version_0_2_0_is_marked(service: str) -> None:
    """Mark it with `Since`: else all jobs of the service fail on older miners, which refuse fields that they do not know."""
    model = installed()[service].definition.input_model
    fields = set(paths(model))
    marked = set(options_of(model))
    assert {path for path in fields - set(BASELINE[service]) if not of_marked(path, marked)} == set()
    assert set(BASELINE[service]) - fields == set()


def of_marked(path: str, marked: set[str]) -> bool:
    """Whether a path, or a field that contains it, is marked."""
    return any(path == option or path.startswith((f"{option}.", f"{option}=")) for option in marked)


class Older(Strict):
    """A part of a request as version 0.2 knows it."""

    text: str


class OlderRequest(Strict):
    """A request as version 0.2 knows it."""

    mode: Literal["plain"] = "plain"
    parts: tuple[Older, ...] = ()


class Part(Older):
    """A part of a request with a newer field."""

    name: Annotated[str | None, Since("0.4")] = None


class Request(Strict):
    """A request with newer fields, and a newer value of an older one."""

    mode: Annotated[Literal["plain", "fancy"], Since("0.4", values=("fancy",))] = "plain"
    parts: tuple[Part, ...] = ()
    limit: Annotated[int, Since("0.4")] = 8
    extra: Annotated[Part | None, Since("0.5")] = None


def test_the_options_of_a_model_are_its_marked_fields_and_values() -> None:
    assert options_of(Request) == ("extra", "extra.name", "limit", "mode=fancy", "parts.*.name")
    assert options_of(OlderRequest) == ()
    schema = Request.model_json_schema()["properties"]
    assert schema["limit"][SINCE] == "0.4"
    assert SINCE not in schema["parts"]


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, ()),
        ({"parts": [{"text": "a"}], "limit": 8, "extra": None}, ()),
        ({"mode": "fancy"}, ("mode=fancy",)),
        ({"limit": 9}, ("limit",)),
        ({"parts": [{"text": "a"}, {"text": "b", "name": "b"}]}, ("parts.*.name",)),
        ({"extra": {"text": "c", "name": "d"}}, ("extra", "extra.name")),
    ],
)
def test_an_older_model_reads_every_request_without_options(
    given: dict[str, Any], options: tuple[str, ...]
) -> None:
    """And no other one. The newer model reads what was specified as it was given."""
    request = Request.model_validate_json(json.dumps(given))
    parameters, used = parameters_of(request)
    assert used == options
    assert Request.model_validate(parameters) == request
    if options:
        with pytest.raises(ValidationError):
            OlderRequest.model_validate(parameters)
    else:
        OlderRequest.model_validate(parameters)


def tool(schema: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"name": "look", "parameters": schema}]}


ADDRESS = {"type": "object", "properties": {"page": {"type": "string", "format": "uri"}}}
UNENFORCED = {"type": "object", "properties": {"page": {"type": "string", "not": {"const": "a"}}}}
PLAIN = {
    "type": "object",
    "properties": {"format": {"type": "string", "format": "date"}},
    "required": ["format"],
}


@pytest.mark.parametrize(
    ("fields", "lenient"),
    [
        ({}, False),
        ({"response_schema": PLAIN}, False),
        ({"response_schema": ADDRESS}, True),
        (tool(PLAIN), False),
        (tool(ADDRESS), True),
        (tool(UNENFORCED), True),
        ({**tool(PLAIN), "tool_choice": "required"}, False),
        ({**tool(ADDRESS), "tool_choice": {"name": "look"}}, True),
    ],
)
def test_schemas_that_agents_of_version_0_2_refuse_are_an_option(
    fields: dict[str, Any], lenient: bool
) -> None:
    body = {"model": "llama-7b", "prompt": "Hello", **fields}
    parameters, _ = parameters_of(InferenceRequest.model_validate_json(json.dumps(body)))
    assert (("options", LENIENT_SCHEMAS) in needs(parameters)) is lenient
