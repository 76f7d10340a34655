"""Sealed requests: what the coordinator can check of a job whose parameters it cannot read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from agent.coordinator.features.sealing import keys
from agent.coordinator.features.sealing.fields import SealedJob, SealedRequest
from agent.coordinator.hooks import Errors, NewJob, OpaqueInput, RequestedInput
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import validation
from agent.coordinator.operations.jobs.addresses import artifact_of, reference_problem
from agent.coordinator.store.jobs import JobRecord
from aitbc.statement import Statement

UNPROVABLE: Final = "no other miner can check a sealed job: only its client and its miner can read it"


def read_input(context: Context, request: RequestedInput, errors: Errors) -> OpaqueInput | None:
    """Return the input of a sealed request, None if it is not sealed. Add what is wrong with it to `errors`."""
    sealed = request.fields.sealed
    if sealed is None:
        return None
    errors |= {
        name: "remove it: the input of a sealed job is in `sealed` only"
        for name, value in request.in_clear.items()
        if value
    }
    if not request.names_miner:
        errors["sealed"] = (
            "give the miner_id or the offer_id of the miner to whose key the request is sealed: no other can read it"
        )
    _check_models(context, request, sealed, errors)
    _check_files(context, sealed, errors)
    return OpaqueInput(
        model=sealed.model,
        files={str(number): reference for number, reference in enumerate(sealed.files)},
        specification={"sealed": sealed.model_dump(mode="json", exclude={"files"})},
        unprovable=UNPROVABLE,
    )


def _check_models(context: Context, request: RequestedInput, sealed: SealedRequest, errors: Errors) -> None:
    service, models = request.service, request.models
    if service.model_field is None:
        if sealed.model is not None:
            errors["sealed.model"] = f"{service.service_id} has no models; use null"
    elif not validation.is_model(context, service, models, sealed.model or ""):
        suggestions = validation.model_suggestions(context, service, models)
        errors["sealed.model"] = validation.unknown("model", sealed.model or "", suggestions)
    adapters = validation.adapter_names(context, service)
    for name in sealed.adapters:
        if name not in adapters:
            errors["sealed.adapters"] = validation.unknown("adapter", name, adapters)


def _check_files(context: Context, sealed: SealedRequest, errors: Errors) -> None:
    for number, reference in enumerate(sealed.files):
        if artifact_of(reference) is None:
            errors[f"sealed.files.{number}"] = (
                "a sealed job reads artifacts only: store the sealed file first, and name it artifact:sha256:<64 hex digits>"
            )
        elif problem := reference_problem(context, reference):
            errors[f"sealed.files.{number}"] = problem


def admit_job(connection: Connection, context: Context, job: NewJob) -> JobRecord:
    """Return the job's row. Raises `ValidationFailed` unless its miner can open what was sealed to its key."""
    sealed, miner_id = _sealed(job.record), job.record.requested_miner_id
    if sealed is not None and miner_id is not None:
        keys.require(connection, context, miner_id, sealed["key_id"])
    return job.record


def check_result(specification: Mapping[str, Any], statement: Statement) -> dict[str, str]:
    """Return an error unless the statement is about the sealed request of the specification, or both have none."""
    sealed = specification.get("sealed")
    must = None if sealed is None else (sealed["key_id"], sealed["request_id"])
    stated = None if statement.sealed is None else (statement.sealed.key_id, statement.sealed.request_id)
    return {} if stated == must else {"sealed": f"is {stated}, must be {must}"}


def describe_details(_connection: Connection, record: JobRecord) -> dict[str, Any]:
    """Return what a job's client needs to open the answer; nothing for a job that is not sealed."""
    sealed = _sealed(record)
    if sealed is None:
        return {}
    return {"sealed": SealedJob(**{name: sealed[name] for name in SealedJob.model_fields})}


def _sealed(record: JobRecord) -> Mapping[str, Any] | None:
    """Return the sealed request of a job's specification, None without one."""
    sealed: Mapping[str, Any] | None = orjson.loads(record.spec)["sealed"] if record.is_opaque else None
    return sealed
