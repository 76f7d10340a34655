"""The service registry: the definitions by the services' runners, and the current supply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from decimal import Decimal
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from agent.coordinator import hooks
from agent.coordinator.features.market.answers import ServiceDetails, ServiceSummary
from agent.coordinator.operations.answers import sale_units
from agent.coordinator.operations.caches import Estimates, Supply
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.validation import (
    adapter_names,
    check_service_call,
    model_names,
    model_suggestions,
    surcharges_of_call,
)
from agent.coordinator.operations.supply import fleet, supply
from agent.core.errors import NotFound, ValidationFailed
from agent.core.values.quantities import format_money, parse_money
from aitbc.answers.registry import (
    Hardware,
    ModelNeeds,
    Price,
    ServiceRequirements,
    Speed,
    TypicalDuration,
    Validation,
    ValidationProblem,
)
from aitbc.figures.sale_units import price as priced_at
from runners.api import ServiceDefinition
from runners.forms import FORM_KEYWORD, MAX_FILE_KEYWORD
from runners.near_names import hint, nearest

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID: Final = "https://aitbc.bubuit.net/api/v1/registry/services/{}/schema"


async def services(context: Context, *, category: str | None, search: str | None) -> list[ServiceSummary]:
    """Return all services, or those of a category, or those with a text in name, description or tags. Case is ignored."""
    definitions = [
        definition
        for definition in context.catalogue.services.values()
        if (category is None or definition.category.casefold() == category.casefold())
        and (search is None or _mentions(definition, search.casefold()))
    ]
    return [await _summary(context, definition) for definition in definitions]


def _mentions(definition: ServiceDefinition, text: str) -> bool:
    searched = (definition.name, definition.description, *definition.tags)
    return any(text in words.casefold() for words in searched)


async def service(context: Context, service_id: str) -> ServiceDetails:
    """Return one service in full. Raises `NotFound`."""
    definition = _find(context, service_id)
    offered = await supply(context, definition.service_id)
    models = model_names(context, definition, offered.models) if definition.model_field else []
    adapters = adapter_names(context, definition)
    return ServiceDetails(
        **vars(await _summary(context, definition)),
        models=models,
        adapters=adapters,
        ready=sorted(offered.ready & {*models, *adapters}),
        output_schema={"$schema": DIALECT, **_json_schema(definition.output_model, "serialization")},
    )


def schema(context: Context, service_id: str) -> dict[str, Any]:
    """Return the JSON Schema of a service's input, with its form for people if it has one. Raises `NotFound`."""
    definition = _find(context, service_id)
    identity = {"$schema": DIALECT, "$id": SCHEMA_ID.format(definition.service_id)}
    form = {} if definition.form is None else {FORM_KEYWORD: definition.form.as_json()}
    limit = {MAX_FILE_KEYWORD: int(context.settings.max_artifact)}
    return {**identity, **_json_schema(definition.input_model, "validation"), **form, **limit}


def requirements(context: Context, service_id: str) -> ServiceRequirements:
    """Return what a machine needs for a service and for each of its models. Raises `NotFound`."""
    definition = _find(context, service_id)
    models = [
        ModelNeeds(
            name=entry.name,
            kind=entry.kind,
            vram=entry.vram,
            vram_min=entry.vram_min,
            memory=entry.memory,
        )
        for entry in context.catalogue.models.values()
        if entry.service == definition.service_id
    ]
    return ServiceRequirements(
        service_id=definition.service_id, **asdict(definition.requirements), models=models
    )


def _find(context: Context, service_id: str) -> ServiceDefinition:
    # Services were once written with hyphens in addresses, and both forms are the same service.
    name = service_id.replace("-", "_")
    definition = context.catalogue.services.get(name)
    if definition is None:
        # The error names all services, since there are few and the caller has to choose one.
        service_ids = sorted(context.catalogue.services)
        raise NotFound(
            f"There is no service {service_id!r}.{hint(name, service_ids)}.",
            {"service_id": service_id, "known": service_ids},
        )
    return definition


async def validate(context: Context, service_id: str, data: Mapping[str, Any]) -> Validation:
    """Return whether a service call with this body would be accepted, with warnings. Raises `NotFound`.

    The checks are those of real calls, except whether the caller owns the artifacts.
    """
    definition = _find(context, service_id)
    offered = await supply(context, definition.service_id)
    errors: Mapping[str, str] = {}
    try:
        # The specification is made and thrown away, because some errors are only found while it is made.
        check_service_call(context, definition, data, offered.models).specification("")
    except ValidationFailed as error:
        errors = error.details["fields"]
    warnings = [
        *_model_warnings(context, definition, data, offered, errors),
        *_price_warnings(definition, data, offered.lowest_price, errors),
        *_surcharge_warnings(context, definition, data, errors),
    ]
    return Validation(valid=not errors, errors=_problems(errors), warnings=_problems(dict(warnings)))


def _problems(by_field: Mapping[str, str]) -> list[ValidationProblem]:
    return [ValidationProblem(field=field, message=message) for field, message in by_field.items()]


def _model_warnings(
    context: Context,
    definition: ServiceDefinition,
    data: Mapping[str, Any],
    offered: Supply,
    errors: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    if not offered.online:
        yield "service_id", "no online miner offers this service; a job would wait for one"
    field = definition.model_field
    if field is None:
        return
    model = data.get(field, definition.input_model.model_fields[field].get_default())
    # The error of the check says already that this is no name.
    if not isinstance(model, str):
        return
    if field in errors:
        # The miners' own models are suggested too, which the catalogue does not know.
        near = nearest(model, model_suggestions(context, definition, offered.models))
        if near is not None:
            yield field, f"did you mean {near}?"
    elif offered.online and model not in offered.ready:
        entry = context.catalogue.models.get(model)
        fetched = offered.downloads and entry is not None and entry.fetchable
        effect = "a miner would fetch it first" if fetched else "a job would wait for a miner that has it"
        yield field, f"no online miner has the model {model}; {effect}"


def _price_warnings(
    definition: ServiceDefinition, data: Mapping[str, Any], lowest: Decimal | None, errors: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    pricing = data.get("pricing")
    limit = pricing.get("max_cost") if isinstance(pricing, Mapping) else None
    # An amount that is not valid cannot be compared.
    if limit is None or lowest is None or any(field.startswith("pricing") for field in errors):
        return
    if parse_money(limit) < lowest:
        price = priced_at(lowest, definition.sale_units_on("cuda"))
        message = f"does not pay for a single {definition.unit}; use at least {format_money(lowest)} (the lowest price is {price})"
        yield "pricing.max_cost", message


def _surcharge_warnings(
    context: Context, definition: ServiceDefinition, data: Mapping[str, Any], errors: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for surcharge in surcharges_of_call(context, definition, data):
        # An option that is refused costs nothing.
        if surcharge.field not in errors:
            yield (
                surcharge.field,
                f"{surcharge.name} costs {surcharge.percent:g} % of the job's price in addition; pricing.max_cost covers both",
            )


async def _summary(context: Context, definition: ServiceDefinition) -> ServiceSummary:
    offered = await supply(context, definition.service_id)
    return ServiceSummary(
        service_id=definition.service_id,
        name=definition.name,
        category=definition.category,
        description=definition.description,
        tags=list(definition.tags),
        unit=definition.unit,
        cpu_unit=definition.cpu_unit or definition.unit,
        sale_units=sale_units(definition, "cuda"),
        determinism=definition.determinism,
        resumes=definition.checkpoints.resumes if definition.checkpoints else None,
        route=f"/v1/services/{definition.route}" if definition.route else None,
        requirements=Hardware(**asdict(definition.requirements)),
        miners_online=offered.online,
        price=_price(offered),
        speed=_speed(offered),
        durations=_durations(await estimates(context), definition.service_id),
        # Features add what they know, such as the price of an audit, without this module knowing them.
        **hooks.describe_service(context.settings, definition, (await fleet(context)).miners),
    )


def _price(offered: Supply) -> Price | None:
    if offered.lowest_price is None or offered.typical_price is None:
        return None
    return Price(lowest=format_money(offered.lowest_price), typical=format_money(offered.typical_price))


def _speed(offered: Supply) -> Speed | None:
    if offered.speed is None:
        return None
    metric, best, typical = offered.speed
    return Speed(metric=metric, best=best, typical=typical)


def _durations(measured: Estimates, service_id: str) -> list[TypicalDuration]:
    return [
        TypicalDuration(model=model or None, seconds=round(seconds, 3))
        for (service, model), seconds in sorted(measured.typical.items())
        if service == service_id
    ]


# A schema takes milliseconds to make and never changes while the process runs.
@cache
def _json_schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    return model.model_json_schema(mode=mode)
