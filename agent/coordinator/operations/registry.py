"""What the registry says of the services: their runners' own definitions, and what there is for them now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from decimal import Decimal
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from agent.coordinator.operations.caches import Estimates, Supply
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.validation import adapter_names, check_service_call, model_names
from agent.coordinator.operations.market import offers
from agent.coordinator.operations.supply import supply
from agent.core.errors import NotFound, ValidationFailed
from agent.core.values.near_names import hint, nearest
from agent.core.values.quantities import format_money, parse_money
from runners.api import ServiceDefinition

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID: Final = "https://aitbc.bubuit.net/api/v1/registry/services/{}/schema"


async def services(context: Context, *, category: str | None, search: str | None) -> list[dict[str, Any]]:
    """All services, or those of a category, or with a text in name, description or tags, whatever its case."""
    found = [
        definition
        for definition in context.services.values()
        if (category is None or definition.category.casefold() == category.casefold())
        and (search is None or _mentions(definition, search.casefold()))
    ]
    return [await _summary(context, definition) for definition in found]


def _mentions(definition: ServiceDefinition, text: str) -> bool:
    places = (definition.name, definition.description, *definition.tags)
    return any(text in place.casefold() for place in places)


async def service(context: Context, service_id: str) -> dict[str, Any]:
    """One service in full. Raises `NotFound`."""
    definition = _find(context, service_id)
    there = await supply(context, definition.service_id)
    models = model_names(context, definition, there.models) if definition.model_field else []
    adapters = adapter_names(context, definition)
    return {
        **await _summary(context, definition),
        "models": models,
        "adapters": adapters,
        "ready": sorted(there.ready & {*models, *adapters}),
        "output_schema": {"$schema": DIALECT, **_json_schema(definition.output_model, "serialization")},
    }


def schema(context: Context, service_id: str) -> dict[str, Any]:
    """The JSON Schema of a service's input. Raises `NotFound`."""
    definition = _find(context, service_id)
    identity = {"$schema": DIALECT, "$id": SCHEMA_ID.format(definition.service_id)}
    return {**identity, **_json_schema(definition.input_model, "validation")}


def requirements(context: Context, service_id: str) -> dict[str, Any]:
    """What a machine needs for a service, and for each of its models. Raises `NotFound`."""
    definition = _find(context, service_id)
    models = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "vram": entry.vram,
            "vram_min": entry.vram_min,
            "memory": entry.memory,
        }
        for entry in context.catalogue.values()
        if entry.service == definition.service_id
    ]
    return {"service_id": definition.service_id, **asdict(definition.requirements), "models": models}


def _find(context: Context, service_id: str) -> ServiceDefinition:
    wanted = service_id.replace("-", "_")
    definition = context.services.get(wanted)
    if definition is None:
        known = sorted(context.services)
        raise NotFound(
            f"There is no service {service_id!r}.{hint(wanted, known)}.",
            {"service_id": service_id, "known": known},
        )
    return definition


async def validate(context: Context, service_id: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a service call with this body would be taken, and what its client should know before. Raises `NotFound`.

    It is checked by what checks real ones. An artifact that the caller does not own shows only then.
    """
    definition = _find(context, service_id)
    there = await supply(context, definition.service_id)
    cheapest = await offers.listed(context, job_type=definition.service_id, max_price=None, limit=1)
    lowest = parse_money(cheapest[0]["price"]) if cheapest else None
    faults: Mapping[str, str] = {}
    try:
        check_service_call(context, definition, data, there.models).specification("")
    except ValidationFailed as error:
        faults = error.details["fields"]
    warnings = [
        *_model_warnings(context, definition, data, there, faults),
        *_price_warnings(definition, data, lowest, faults),
    ]
    return {"valid": not faults, "errors": _listed(faults), "warnings": _listed(dict(warnings))}


def _listed(faults: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"field": place, "message": message} for place, message in faults.items()]


def _model_warnings(
    context: Context,
    definition: ServiceDefinition,
    data: Mapping[str, Any],
    there: Supply,
    faults: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    if not there.online:
        yield "service_id", "no miner that is online offers this service; a job would wait for one"
    place = definition.model_field
    if place is None:
        return
    model = data.get(place, definition.input_model.model_fields[place].get_default())
    if not isinstance(model, str):
        return
    if place in faults:
        near = nearest(model, model_names(context, definition, there.models))
        if near is not None:
            yield place, f"did you mean {near}?"
    elif there.online and model not in there.ready:
        entry = context.catalogue.get(model)
        fetched = there.downloads and entry is not None and entry.fetchable
        what = "one will fetch it first" if fetched else "a job would wait for one that has"
        yield place, f"no miner that is online has the model {model}; {what}"


def _price_warnings(
    definition: ServiceDefinition, data: Mapping[str, Any], lowest: Decimal | None, faults: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    place = "pricing.max_cost"
    pricing = data.get("pricing")
    limit = pricing.get("max_cost") if isinstance(pricing, Mapping) else None
    if limit is None or lowest is None or any(fault.startswith("pricing") for fault in faults):
        return
    if parse_money(limit) < lowest:
        yield place, f"below every offer: one {definition.unit} costs at least {format_money(lowest)}"


async def _summary(context: Context, definition: ServiceDefinition) -> dict[str, Any]:
    there = await supply(context, definition.service_id)
    return {
        "service_id": definition.service_id,
        "name": definition.name,
        "category": definition.category,
        "description": definition.description,
        "tags": list(definition.tags),
        "unit": definition.unit,
        "cpu_unit": definition.cpu_unit or definition.unit,
        "determinism": definition.determinism,
        "resumes": definition.checkpoints.resumes if definition.checkpoints else None,
        "route": f"/v1/services/{definition.route}" if definition.route else None,
        "requirements": asdict(definition.requirements),
        "miners_online": there.online,
        **_offer(there),
        "durations": _durations(await estimates(context), definition.service_id),
    }


def _offer(there: Supply) -> dict[str, Any]:
    price = speed = None
    if there.lowest_price is not None and there.typical_price is not None:
        price = {"lowest": format_money(there.lowest_price), "typical": format_money(there.typical_price)}
    if there.speed is not None:
        metric, best, typical = there.speed
        speed = {"metric": metric, "best": best, "typical": typical}
    return {"price": price, "speed": speed}


def _durations(measured: Estimates, service_id: str) -> list[dict[str, Any]]:
    return [
        {"model": model or None, "seconds": round(seconds, 3)}
        for (service, model), seconds in sorted(measured.typical.items())
        if service == service_id
    ]


@cache
def _json_schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    return model.model_json_schema(mode=mode)
