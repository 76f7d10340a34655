"""Running a job again, with the same input or with changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import ConfigDict, Field

from agent.coordinator import hooks
from agent.coordinator.hooks import View
from agent.coordinator.operations.answers import JobCreated
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import own_jobs, submitting, validation
from agent.coordinator.operations.jobs.addresses import artifact_of
from agent.coordinator.operations.jobs.details import with_value
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.coordinator.operations.supply import supply
from agent.coordinator.store import artifacts
from agent.coordinator.store.jobs import JobRecord, find
from agent.coordinator.store.queue import restrictions_of
from agent.core.errors import Conflict, ValidationFailed, invalid_request
from agent.core.values.quantities import format_units

MAX_CHANGES: Final = 100
"""Parameters that a request changes. Each change copies the objects around its parameter."""
MAX_PARTS: Final = 10
"""Names in the path of a parameter; no service nests its parameters deeper."""
MAX_SHOWN: Final = 100
"""Characters of a wrong path that an error repeats."""


class RerunRequest(JobOptions):
    """What is to differ from the first job. `set` changes parameters by their names, with dots inside objects.

    The job options replace those of the first job.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"set": {"steps": 30}, "labels": {"project": "podcast"}}]}
    )

    set: dict[str, Any] = Field(
        default={},
        max_length=MAX_CHANGES,
        description="New values of parameters, as `GET /v1/jobs/{job_id}` names them; null: the default",
        examples=[{"steps": 30}],
    )


async def rerun(
    context: Context, caller: Caller, job_id: str, request: RerunRequest, key: str | None = None
) -> JobCreated:
    """Create a job like this one, with changes; `key` as for `submitting.submit`. An agreement with a miner is not made again.

    Raises `JobNotFound`, and `ValidationFailed`, which names input files that no longer exist.
    """
    record, lost, options = await context.database.read(_read, caller, job_id)
    # The coordinator cannot read the parameters, and the key may have expired.
    if record.is_opaque:
        raise Conflict(
            f"Job {job_id} is sealed: nobody but its client and its miner can read its input. Seal and submit the request again."
        )
    spec = orjson.loads(record.spec)
    request_fields = request.model_dump(mode="json", exclude_unset=True, exclude={"set"})
    parameters = _changed(spec["parameters"], request.set)
    # A file that is replaced by the changes need not exist any more.
    lost = {path: artifact for path, artifact in lost.items() if _at(parameters, path) == artifact}
    if lost:
        raise ValidationFailed(
            "Input files of the first job were deleted.",
            {
                path: f"{_file(record, artifact)} was deleted; upload it again and set {path} to its new address"
                for path, artifact in lost.items()
            },
        )
    definition = validation.service_of(context, record.service)
    models = (await supply(context, definition.service_id)).models
    options = {**options, **_options(record, spec)}
    if request.chosen:  # what determines the miner replaces what did
        options.pop("miner_id", None)
    options |= request_fields
    # What was valid then may not be valid now: services and limits change.
    submission = validation.check_again(context, definition, record.type, parameters, options, models)
    return await submitting.add(
        context, caller, submission, key, {"rerun": job_id, **request_fields, "set": request.set}
    )


def _read(
    connection: Connection, caller: Caller, job_id: str
) -> tuple[JobRecord, dict[str, str], dict[str, Any]]:
    """Return the job; those of its input files, by field, that no longer exist; and its options of features."""
    record = own_jobs.own(find(connection, job_id), caller, job_id)
    files: dict[str, Any] = orjson.loads(record.spec)["files"]
    account = caller.account_of("Jobs")
    lost = {
        path: reference
        for path, reference in files.items()
        if (artifact := artifact_of(reference)) is not None
        and artifacts.readable_by_account(connection, artifact, account) is None
    }
    return record, lost, hooks.describe_jobs(connection, (record,), View.OPTIONS)[job_id]


def _changed(parameters: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    for path, value in changes.items():
        try:
            parameters = with_value(parameters, _parts(path), value)
        except ValueError as error:
            raise invalid_request({f"set.{path[:MAX_SHOWN]}": str(error)}) from None
    return parameters


def _parts(path: str) -> list[str]:
    """Return the names in a dotted path. Raises `ValueError` for too many."""
    parts = path.split(".", MAX_PARTS)
    if len(parts) > MAX_PARTS:
        raise ValueError(f"a path has at most {MAX_PARTS} names")
    return parts


def _at(parameters: Mapping[str, Any], path: str) -> Any:
    value: Any = parameters
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _file(record: JobRecord, address: str) -> str:
    """Return how a message names a lost file: by the job's name, which usually is the file's."""
    return address if record.name_given else f"{record.name} ({address})"


def _options(record: JobRecord, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a job as its client gave them, or as the coordinator filled them in."""
    options = {
        "name": record.name if record.name_given else None,
        "resources": spec["resources"],
        # What was held, surcharges included, is what the client was willing to pay.
        "pricing": {"max_cost": format_units(record.held)},
        # Jobs of batches have less than any that a client can ask for.
        "priority": max(0, record.priority),
        "timeout_seconds": int(spec["timeout_seconds"]),
        "max_attempts": record.life.max_attempts,
        "miner_id": record.requested_miner_id if record.agreed_price is None else None,
        "min_reputation": restrictions_of(record).min_reputation or None,
    }
    return {name: value for name, value in options.items() if value is not None}
