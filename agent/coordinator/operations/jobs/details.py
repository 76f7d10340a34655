"""What a job was asked to do: its parameters and inputs, as its client sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, get_args
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from agent.coordinator.hooks import View
from agent.coordinator.operations.answers import JobDetails
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.operations.jobs.addresses import artifact_of
from agent.coordinator.operations.jobs.names import file_names
from agent.coordinator.store import artifacts
from agent.coordinator.store.jobs import JobRecord
from aitbc.answers.jobs import JobInput

_MISSING: Final = object()
_HIDDEN: Final = "hidden"
"""In place of an address's query, which often is a password to the file."""


async def get(context: Context, caller: Caller, job_id: str) -> JobDetails:
    """Return a job with its parameters and inputs. Raises `JobNotFound`, also for another account's job."""
    record, fields, spec, stored = await context.database.peek(_read, caller, job_id)
    described = own_jobs.described(
        record, fields, await own_jobs.estimates_for(context, record), context.clock()
    )
    definition = context.catalogue.services.get(record.service)
    parameters, files = spec["parameters"], spec["files"]
    if files:
        # A signed address has its password in the query, which must not appear in every answer about the job.
        parameters = _without_queries(parameters, files)
    if definition is not None:
        parameters = without_defaults(definition.input_model, parameters)
    return JobDetails(
        **described,
        parameters=parameters,
        inputs=list(_inputs(files, stored)),
    )


def _read(
    connection: Connection, caller: Caller, job_id: str
) -> tuple[JobRecord, dict[str, Any], dict[str, Any], list[artifacts.StoredInput]]:
    record, fields = own_jobs.read(connection, caller, job_id, View.DETAILS)
    spec = orjson.loads(record.spec)
    # Most jobs have no files, and this call is made for each of them several times.
    inputs = artifacts.inputs_of(connection, job_id) if spec["files"] else []
    return record, fields, spec, inputs


def _inputs(files: Mapping[str, Any], stored: list[artifacts.StoredInput]) -> Iterator[JobInput]:
    stored_inputs, names = {item.field: item for item in stored}, file_names(files)
    for field, reference in files.items():
        artifact_id, item = artifact_of(reference), stored_inputs.get(field)
        if isinstance(reference, Mapping):
            yield JobInput(field=field, name=field, size=len(reference["inline"].encode()))
        elif artifact_id is None:
            yield JobInput(field=field, name=names.get(field, field), url=_without_query(reference))
        elif item is None:
            yield JobInput(field=field, name=field, artifact_id=artifact_id)
        else:
            name = item.file_name or field
            yield JobInput(field=field, name=name, artifact_id=artifact_id, size=item.size)


def _without_query(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(query=_HIDDEN)) if parts.query else address


def _without_queries(parameters: Mapping[str, Any], files: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy of the parameters with the addresses in its file fields without their queries."""
    for path, reference in files.items():
        if isinstance(reference, str) and "?" in reference:
            parameters = with_value(parameters, path.split("."), _without_query(reference))
    return parameters


def with_value(values: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Return a copy of nested objects with another value at a path; None removes the field, so that its default applies.

    Raises `ValueError` for a path through a value that is not an object.
    """
    name, *inner_path = path
    if not inner_path:
        changed = {**values, name: value}
        return changed if value is not None else {key: item for key, item in values.items() if key != name}
    inner = values.get(name)
    if inner is None:
        inner = {}
    if not isinstance(inner, Mapping):
        raise ValueError(f"{name} is not an object, so it has no field {inner_path[0]}")  # noqa: TRY004 - it is the client's value
    return {**values, name: with_value(inner, inner_path, value)}


def without_defaults(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a model's fields that differ from the fields' defaults, in nested models too."""
    defaults, nested = _shape(model)
    differing: dict[str, Any] = {}
    for name, value in values.items():
        if value == defaults.get(name, _MISSING):
            continue
        inner = nested.get(name)
        if inner is not None and isinstance(value, Mapping):
            differing[name] = without_defaults(inner, value)
        elif inner is not None and isinstance(value, list):
            differing[name] = [
                without_defaults(inner, item) if isinstance(item, Mapping) else item for item in value
            ]
        else:
            differing[name] = value
    return differing


@cache
def _shape(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, type[BaseModel]]]:
    """Return the JSON of the defaults of a model's fields, and the models of those fields that have exactly one."""
    defaults, nested = {}, {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            defaults[name] = to_jsonable_python(field.get_default(call_default_factory=True))
        models = set(_models(field.annotation))
        # With several models, the values alone do not show which of them has filled in the defaults.
        if len(models) == 1:
            nested[name] = models.pop()
    return defaults, nested


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
