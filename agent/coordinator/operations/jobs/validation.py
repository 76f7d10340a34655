"""Validation of job requests: turns a request into the specification that a miner gets, with every default filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agent.coordinator import hooks, job_fields
from agent.coordinator.hooks import CheckedRequest, Errors, OpaqueInput, ReplacedInput, Surcharge
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.addresses import artifact_of, reference_problem, with_schemes
from agent.coordinator.operations.jobs.requests import JobOptions, JobRequest
from agent.core.errors import InvalidJobType, ValidationFailed, invalid_request
from agent.core.matching import UNRESTRICTED, Restrictions
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.errors import VerificationError
from runners.api import ServiceDefinition
from runners.input_options import needs_of, parameters_of
from runners.near_names import MAX_CONSIDERED, hint
from runners.plain_json import check_json
from runners.validation_errors import field_errors, too_many_fields

_ModelT = TypeVar("_ModelT", bound=BaseModel)

MAX_SHOWN = 100
"""Characters of a wrong name that an error repeats."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid request. `missing` are the file fields whose files are still to be uploaded.

    `name` is the client's name for the job, or else that of its service, as miners see it. `surcharge_percent` is
    what its options cost in addition, in percent of the job's price, None if none of them costs anything.
    """

    definition: ServiceDefinition
    type: str
    name: str
    model: str | None
    parameters: Mapping[str, Any]
    options: JobOptions
    max_cost: Decimal
    timeout_seconds: int
    max_attempts: int
    needs: tuple[tuple[str, str], ...] = ()
    files: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    surcharge_percent: float | None = None
    restrictions: Restrictions = UNRESTRICTED
    opaque: OpaqueInput | None = None

    @property
    def units(self) -> Decimal | None:
        """The metered units, if the request alone determines them."""
        if self.opaque is not None or self.definition.units is None:
            return None
        return self.definition.units(self.parameters)

    def artifact_ids(self) -> dict[str, str]:
        """Return the artifacts that the job reads, by file field."""
        return {
            path: artifact for path, reference in self.files.items() if (artifact := artifact_of(reference))
        }

    def specification(self, job_id: str) -> tuple[str, str]:
        """Return the job's specification as canonical JSON, and its SHA-256 in hex."""
        return specify(
            {
                **({} if self.opaque is None else self.opaque.specification),
                "job_id": job_id,
                "service": self.definition.service_id,
                "name": self.name,
                "model": self.model,
                "parameters": self.parameters,
                "files": self.files,
                "resources": self.options.resources.model_dump(exclude_none=True),
                "timeout_seconds": self.timeout_seconds,
            }
        )


def specify(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Return canonical JSON of a specification, and its SHA-256 in hex. Raises `ValidationFailed` for a value outside JSON."""
    try:
        payload = canonical_json(spec)
    except VerificationError as error:
        raise ValidationFailed(
            f"The request has a value that cannot be signed. {error}", {"parameters": str(error)}
        ) from None
    return payload.decode(), sha256_hex(payload)


def service_of(context: Context, job_type: str) -> ServiceDefinition:
    """Return the service of a job type. Raises `InvalidJobType`, which lists the known types."""
    definition = context.catalogue.services.get(job_type.replace("-", "_"))
    if definition is None:
        service_ids = sorted(context.catalogue.services)
        raise InvalidJobType(
            f"{job_type!r} is not a job type of this network.{hint(job_type.replace('-', '_'), service_ids)}.",
            {"type": job_type, "known": service_ids},
        )
    return definition


def check_job(context: Context, request: JobRequest, models: frozenset[str]) -> Submission:
    """Validate a job request. `models` are the models that miners have. Raises `ValidationFailed`, `InvalidJobType`."""
    definition = service_of(context, request.type)
    blocks = {"model": request.model, "input": request.input, "output": request.output}
    in_clear = {**blocks, "parameters": request.parameters}
    errors: Errors = {}
    if any(getattr(request, name) is not None for name in job_fields.Input.model_fields):
        replaced = ReplacedInput(request, in_clear, models, names_miner=bool(request.chosen))
        return _submission(
            context, definition, request.type, request, errors, replaced, parameters={}, model=None, files={}
        )
    if definition.body_fields:
        data = {name: in_clear[name] for name in definition.body_fields if in_clear[name] is not None}
        return _check(context, definition, request.type, data, request, models, prefix="", errors=errors)
    misplaced = {
        name: f"{definition.service_id} takes its input from `parameters`"
        for name, block in blocks.items()
        if block
    }
    if misplaced:
        raise ValidationFailed("Some fields do not belong to a job of this type.", misplaced)
    return _check(
        context,
        definition,
        request.type,
        request.parameters,
        request,
        models,
        prefix="parameters.",
        errors=errors,
    )


def check_service_call(
    context: Context, definition: ServiceDefinition, body: Mapping[str, Any], models: frozenset[str]
) -> Submission:
    """Validate the body of a service call: the service's input and job options. Raises `ValidationFailed`."""
    options_given, data = _divided(definition, body)
    errors: Errors = {}
    options = _read(JobOptions, options_given, errors, prefix="")
    return _check(context, definition, definition.service_id, data, options, models, prefix="", errors=errors)


def check_again(
    context: Context,
    definition: ServiceDefinition,
    job_type: str,
    parameters: Mapping[str, Any],
    options_given: Mapping[str, Any],
    models: frozenset[str],
) -> Submission:
    """Validate the parameters and the job options of a job that is to run again. Raises `ValidationFailed`."""
    errors: Errors = {}
    options = _read(JobOptions, options_given, errors, prefix="")
    return _check(context, definition, job_type, parameters, options, models, prefix="", errors=errors)


def _check(
    context: Context,
    definition: ServiceDefinition,
    job_type: str,
    data: Mapping[str, Any],
    options: JobOptions | None,
    models: frozenset[str],
    prefix: str,
    errors: Errors,
) -> Submission:
    request = _read(definition.input_model, data, errors, prefix)
    # If a field is invalid, the others are still checked as they were sent.
    parameters, used_options = (data, ()) if request is None else parameters_of(request)
    # Here, so that miners and stored jobs know one form only.
    parameters = with_schemes(parameters, {path: value for path, _, value in definition.files_of(parameters)})
    model = _model(context, definition, parameters, models, prefix, errors)
    needs: tuple[tuple[str, str], ...] = ()
    if request is not None:
        _check_adapters(context, definition, parameters, prefix, errors)
        needs = tuple(definition.needs(parameters)) if definition.needs is not None else ()
        needs += needs_of(used_options)
        _check_needs(context, definition, model, needs, prefix, errors)
    files, missing = _files(context, definition, parameters, prefix, errors)
    return _submission(
        context,
        definition,
        job_type,
        options,
        errors,
        model=model,
        parameters=parameters,
        files=files,
        missing=missing,
        needs=needs,
    )


def _submission(
    context: Context,
    definition: ServiceDefinition,
    job_type: str,
    options: JobOptions | None,
    errors: Errors,
    replaced: ReplacedInput | None = None,
    *,
    parameters: Mapping[str, Any],
    **checked: Any,
) -> Submission:
    """Return the valid request with its options. Raises `ValidationFailed` if there are any errors."""
    timeout = _timeout(context, options, errors)
    if options is None:
        raise invalid_request(errors)
    requested = CheckedRequest(context, definition, options, parameters, errors, replaced)
    requested.restrictions = Restrictions(min_reputation=float(options.min_reputation or 0.0))
    hooks.check_request(requested)
    if errors:
        raise invalid_request(errors)
    if requested.opaque is not None:
        checked |= {"model": requested.opaque.model, "files": requested.opaque.files}
    surcharges = requested.surcharges
    max_cost = options.pricing.max_cost
    return Submission(
        definition=definition,
        type=job_type,
        name=options.name or definition.service_id.replace("_", "-"),
        parameters=parameters,
        options=options,
        max_cost=context.settings.default_max_cost if max_cost is None else max_cost,
        timeout_seconds=timeout,
        max_attempts=options.max_attempts or context.settings.default_max_attempts,
        surcharge_percent=sum(surcharge.percent for surcharge in surcharges) if surcharges else None,
        restrictions=requested.restrictions,
        opaque=requested.opaque,
        **checked,
    )


def surcharges_of_call(
    context: Context, definition: ServiceDefinition, body: Mapping[str, Any]
) -> list[Surcharge]:
    """Return what the options in the body of a service call cost in addition, nothing if they are not valid."""
    options_given, data = _divided(definition, body)
    options = _read(JobOptions, options_given, {}, prefix="")
    if options is None:
        return []
    requested = CheckedRequest(context, definition, options, data, errors={})
    hooks.check_request(requested)
    return requested.surcharges


def _divided(definition: ServiceDefinition, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the job options and the service's input in the body of a service call."""
    names = set(JobOptions.model_fields) - set(definition.input_model.model_fields)
    options = {name: value for name, value in body.items() if name in names}
    return options, {name: value for name, value in body.items() if name not in names}


def _read(model: type[_ModelT], data: Mapping[str, Any], errors: Errors, prefix: str) -> _ModelT | None:
    if (wrong := too_many_fields(data)) is not None:
        errors[prefix.rstrip(".") or "body"] = wrong
        return None
    try:
        check_json(data)
        # As JSON: in strict mode, pydantic converts lists to tuples and strings to decimals only for JSON input.
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        errors |= field_errors(error, prefix, model)
    except ValueError as error:
        errors[prefix.rstrip(".") or "body"] = str(error)
    return None


def _timeout(context: Context, options: JobOptions | None, errors: Errors) -> int:
    requested = options.timeout_seconds if options is not None else None
    timeout = requested or context.settings.default_timeout_seconds
    if timeout > context.settings.max_timeout_seconds:
        errors["timeout_seconds"] = f"at most {context.settings.max_timeout_seconds} seconds here"
    return timeout


def _model(
    context: Context,
    definition: ServiceDefinition,
    parameters: Mapping[str, Any],
    models: frozenset[str],
    prefix: str,
    errors: Errors,
) -> str | None:
    if definition.model_field is None:
        return None
    field_path = f"{prefix}{definition.model_field}"
    model = parameters.get(definition.model_field)
    if not isinstance(model, str) or field_path in errors:
        return None
    if not is_model(context, definition, models, model):
        errors[field_path] = unknown("model", model, model_suggestions(context, definition, models))
    return model


def is_model(context: Context, definition: ServiceDefinition, models: frozenset[str], name: str) -> bool:
    """Return whether a job of this service may name a model, as `model_names` lists them."""
    entry = context.catalogue.models.get(name)
    kind = entry.kind if entry is not None and entry.service == definition.service_id else None
    return kind == "model" or (name in models and kind != "adapter")


def model_names(context: Context, definition: ServiceDefinition, models: frozenset[str]) -> list[str]:
    """Return the models that a job of this service may name: the catalogue's and `models`, which miners have."""
    service_id = definition.service_id
    return sorted(
        (_of_service(context, service_id, "model") | models) - _of_service(context, service_id, "adapter")
    )


def model_suggestions(
    context: Context, definition: ServiceDefinition, models: frozenset[str]
) -> Sequence[str]:
    """Return names of models for a suggestion: the catalogue's first, because a miner may name a thousand others."""
    catalogued = _of_service(context, definition.service_id, "model")
    return sorted(
        model_names(context, definition, models)[: MAX_CONSIDERED + len(catalogued)],
        key=lambda name: name not in catalogued,
    )


def adapter_names(context: Context, definition: ServiceDefinition) -> list[str]:
    """Return the adapters that a job of this service may use."""
    return sorted(_of_service(context, definition.service_id, "adapter"))


def _of_service(context: Context, service_id: str, kind: str) -> set[str]:
    return {
        name
        for name, entry in context.catalogue.models.items()
        if (entry.service, entry.kind) == (service_id, kind)
    }


def _check_adapters(
    context: Context,
    definition: ServiceDefinition,
    parameters: Mapping[str, Any],
    prefix: str,
    errors: Errors,
) -> None:
    if definition.adapters is None:
        return
    adapters = adapter_names(context, definition)
    missing = [name for name in definition.adapters(parameters) if name not in adapters]
    if missing:
        errors[f"{prefix}adapters"] = unknown("adapter", missing[0], adapters)


def _check_needs(
    context: Context,
    definition: ServiceDefinition,
    model: str | None,
    needs: Sequence[tuple[str, str]],
    prefix: str,
    errors: Errors,
) -> None:
    entry = context.catalogue.models.get(model or "")
    if entry is None or entry.service != definition.service_id:
        return
    lacking = [value for feature, value in needs if feature in entry.lacks]
    if lacking:
        errors.setdefault(
            f"{prefix}{definition.model_field}",
            f"the model {model!r} cannot use {lacking[0]}; remove it, or choose another model",
        )


def unknown(kind: str, name: str, names: Sequence[str]) -> str:
    """Return the error for a name of this kind that is none of the known ones."""
    return f"there is no {kind} {name[:MAX_SHOWN]!r} for this service.{hint(name, names)}"


def _files(
    context: Context,
    definition: ServiceDefinition,
    parameters: Mapping[str, Any],
    prefix: str,
    errors: Errors,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    files: dict[str, Any] = {}
    missing: list[str] = []
    for path, mark, reference in definition.files_of(parameters):
        if isinstance(reference, str | Mapping):
            problem = reference_problem(context, reference)
            if problem is not None:
                errors.setdefault(f"{prefix}{path}", problem)
            files[path] = reference
        elif reference is None and mark.upload:
            missing.append(path)
    return files, tuple(missing)


def with_file(spec: str, path: str, reference: str) -> Mapping[str, Any]:
    """Return a stored specification with a file added to a file field."""
    loaded: dict[str, Any] = json.loads(spec)
    value = loaded["parameters"]
    *parents, name = path.split(".")
    for parent in parents:
        value = value[parent]
    value[name] = reference
    loaded["files"][path] = reference
    return loaded
