"""Fields that only a newer program knows change nothing: in no message of the miner protocol, and in no answer to a client."""

from __future__ import annotations

import importlib
import json
import pkgutil
from enum import Enum
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import aitbc.answers
from agent.protocol import answers, messages
from agent.protocol.reading import read
from aitbc.answers.record import Record


def models_of(module: ModuleType, base: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the models that a module declares."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def parts_of(annotation: Any) -> set[type[BaseModel]]:
    """Return the models that a field's type contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {part for argument in get_args(annotation) for part in parts_of(argument)}


def whole(models: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return the models that are no part of another one, with which they are tried."""
    parts = {
        part for model in models for info in model.model_fields.values() for part in parts_of(info.annotation)
    }
    return [model for model in models if model not in parts and model is not Record]


REQUESTS = whole(models_of(messages, BaseModel))
TO_MINERS = whole(models_of(answers, BaseModel))
TO_CLIENTS = whole(
    [
        model
        for module in pkgutil.iter_modules(aitbc.answers.__path__)
        for model in models_of(importlib.import_module(f"aitbc.answers.{module.name}"), Record)
    ]
)


EXAMPLES = 3
"""Few of each kind: the kinds are many, and each example has new fields in all of its parts."""
FORMED = {"artifact_id": f"sha256:{'a' * 64}", "job_id": "job_1", "kind": "segment"}
"""Values of fields whose form their declaration shows by no example."""
PLAIN = {bool: True, int: 1, float: 0.5}


def message(model: type[BaseModel]) -> dict[str, Any]:
    """Return a message of a kind with all of its fields, as JSON values."""
    forms = FORMED if model is messages.RunEvent or "kind" not in model.model_fields else {}
    extra = model.model_config.get("json_schema_extra")
    (shown, *_) = (extra.get("examples") if isinstance(extra, dict) else None) or [{}]  # type: ignore[misc]
    scalars = {
        **{name: value for name, value in shown.items() if not isinstance(value, dict | list)},
        **forms,
    }  # type: ignore[union-attr]
    return {
        info.alias or name: scalars[name] if scalars.get(name) is not None else of_field(info)
        for name, info in model.model_fields.items()
    }


def of_field(info: FieldInfo) -> Any:
    (example, *_) = info.examples or [None]
    return of_type(info.annotation) if example in (None, [], {}) else example


def of_type(annotation: Any) -> Any:
    """Return a value of a field's type: never null, and with one element."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        (example, *_) = next((part.examples for part in arguments if getattr(part, "examples", None)), [None])
        value = of_type(arguments[0]) if example is None else example
    elif origin in {Union, UnionType}:
        value = of_type(next(option for option in arguments if option is not NoneType))
    elif origin in {list, tuple}:
        value = [of_type(arguments[0])]
    elif origin is dict:
        value = {str(of_type(arguments[0])): of_type(arguments[1])}
    elif origin is Literal:
        value = arguments[0]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        value = message(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        value = next(iter(annotation)).value
    else:
        value = PLAIN.get(annotation, "1")
    return value


names = st.text(min_size=1, max_size=20).map(lambda text: f"new_{text}")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
unknown = st.dictionaries(names, values, min_size=1, max_size=3)


def grown(model: type[BaseModel], sent: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Return a message with further fields, in itself and in each of its parts that is declared."""
    parts = {
        info.alias or name: grown_part(info.annotation, sent[info.alias or name], data)
        for name, info in model.model_fields.items()
    }
    return {**parts, **data.draw(unknown)}


def grown_part(annotation: Any, sent: Any, data: st.DataObject) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return grown_part(arguments[0], sent, data)
    if origin in {Union, UnionType}:
        return grown_part(next(option for option in arguments if option is not NoneType), sent, data)
    if origin in {list, tuple} and isinstance(sent, list):
        return [grown_part(arguments[0], part, data) for part in sent]
    if origin is dict and isinstance(sent, dict):
        return {name: grown_part(arguments[1], part, data) for name, part in sent.items()}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(sent, dict):
        return grown(annotation, {**message(annotation), **sent}, data)
    return sent


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_the_coordinator_ignores_what_only_a_newer_miner_knows(
    model: type[BaseModel], data: st.DataObject
) -> None:
    sent = message(model)
    understood = model.model_validate_json(json.dumps(sent))
    assert understood.model_fields_set == set(model.model_fields)
    assert model.model_validate_json(json.dumps(grown(model, sent, data))) == understood


@pytest.mark.parametrize("model", TO_MINERS, ids=lambda model: model.__name__)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_miner_ignores_what_only_a_newer_coordinator_knows(
    model: type[BaseModel], data: st.DataObject
) -> None:
    sent = message(model)
    understood = read(model, sent)
    assert understood.model_fields_set == set(model.model_fields)
    assert read(model, grown(model, sent, data)) == understood


@pytest.mark.parametrize("model", TO_CLIENTS, ids=lambda model: f"{model.__module__}.{model.__name__}")
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_client_reads_an_answer_with_fields_that_only_a_newer_coordinator_knows(
    model: type[Record], data: st.DataObject
) -> None:
    sent = message(model)
    understood = model.read(sent)
    newer = model.read(grown(model, sent, data))
    for name in model.model_fields:
        assert known(getattr(newer, name)) == known(getattr(understood, name))


def known(value: Any) -> Any:
    """Return a value without the fields that are not declared."""
    if isinstance(value, Record):
        return {name: known(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, list | tuple):
        return [known(part) for part in value]
    if isinstance(value, dict):
        return {name: known(part) for name, part in value.items()}
    return value
