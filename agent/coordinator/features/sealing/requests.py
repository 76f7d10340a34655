"""Sealed requests: what the coordinator can check of a job whose parameters it cannot read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agent.coordinator.features.sealing import keys
from agent.coordinator.features.sealing.fields import SealedInput, SealedRequest
from agent.coordinator.hooks import (
    AcceptedResult,
    CheckedRequest,
    Errors,
    JobFields,
    NewJob,
    OpaqueInput,
    View,
)
from agent.coordinator.job_fields import fields_of
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import validation
from agent.coordinator.operations.jobs.addresses import artifact_of, reference_problem
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import ReceiptInvalid
from aitbc.answers.jobs import SealedJob

UNPROVABLE: Final = "no other miner can check a sealed job: only its client and its miner can read it"


def check_request(request: CheckedRequest) -> None:
    """Read the input of a sealed request, and add what is wrong with it."""
    replaced = request.replaced
    if replaced is None or (sealed := fields_of(replaced.fields, SealedInput).sealed) is None:
        return
    request.errors |= {
        name: "remove it: the input of a sealed job is in `sealed` only"
        for name, value in replaced.in_clear.items()
        if value
    }
    # The key belongs to one miner, so the choice of the miner comes before the sealing.
    if not replaced.names_miner:
        request.errors["sealed"] = (
            "give the miner_id or the offer_id of the miner to whose key the request is sealed: no other can read it"
        )
    _check_models(request, replaced.models, sealed)
    _check_files(request.context, sealed, request.errors)
    request.opaque = OpaqueInput(
        model=sealed.model,
        files={str(number): reference for number, reference in enumerate(sealed.files)},
        specification={"sealed": sealed.model_dump(mode="json", exclude={"files"})},
        unprovable=UNPROVABLE,
    )


def _check_models(request: CheckedRequest, models: frozenset[str], sealed: SealedRequest) -> None:
    context, service, errors = request.context, request.service, request.errors
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


def admit_job(connection: Connection, context: Context, job: NewJob) -> None:
    """Raise `ValidationFailed` unless the job's miner can open what was sealed to its key."""
    sealed, miner_id = _sealed(job.record), job.record.requested_miner_id
    # Checked in the transaction of the submission, since the key may expire in between.
    if sealed is not None and miner_id is not None:
        keys.require(connection, context, miner_id, sealed["key_id"])


def results_accepted(
    _connection: Connection, _context: Context, results: Sequence[AcceptedResult], _now: float
) -> None:
    """Raise `ReceiptInvalid` unless each statement is about the sealed request of its job, or both have none."""
    for result in results:
        sealed, stated_seal = _sealed(result.record), result.statement.sealed
        # The signed statement must name the same sealed request; a miner could otherwise answer another one.
        must = None if sealed is None else (sealed["key_id"], sealed["request_id"])
        stated = None if stated_seal is None else (stated_seal.key_id, stated_seal.request_id)
        if stated != must:
            raise ReceiptInvalid(
                "The statement does not match the lease.", {"sealed": f"is {stated}, must be {must}"}
            )


def describe_jobs(_connection: Connection, records: Sequence[JobRecord], view: View) -> JobFields:
    """Return what the clients of sealed jobs need to open the answers."""
    if view is not View.DETAILS:
        return {}
    return {
        record.job_id: {"sealed": SealedJob(**{name: sealed[name] for name in SealedJob.model_fields})}
        for record in records
        if (sealed := _sealed(record)) is not None
    }


def _sealed(record: JobRecord) -> Mapping[str, Any] | None:
    """Return the sealed request of a job's specification, None without one."""
    sealed: Mapping[str, Any] | None = orjson.loads(record.spec)["sealed"] if record.is_opaque else None
    return sealed
