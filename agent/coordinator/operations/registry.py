"""What the registry says of the services: their runners' own definitions, and what there is for them now."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import supply
from agent.coordinator.operations.submission import adapter_names, model_names
from agent.core.errors import NotFound
from agent.core.near_names import hint
from runners._base import ServiceDefinition

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
    known = (await supply(context, definition.service_id)).models if definition.model_field else frozenset()
    return {
        **await _summary(context, definition),
        "models": model_names(context, definition, known),
        "adapters": adapter_names(context, definition),
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


async def _summary(context: Context, definition: ServiceDefinition) -> dict[str, Any]:
    return {
        "service_id": definition.service_id,
        "name": definition.name,
        "category": definition.category,
        "description": definition.description,
        "tags": list(definition.tags),
        "unit": definition.unit,
        "cpu_unit": definition.cpu_unit or definition.unit,
        "determinism": definition.determinism,
        "route": f"/v1/services/{definition.route}" if definition.route else None,
        "requirements": asdict(definition.requirements),
        "miners_online": (await supply(context, definition.service_id)).online,
    }


@cache
def _json_schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    return model.model_json_schema(mode=mode)
