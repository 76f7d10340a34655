"""`GET /v1/models`: the models that requests on these paths may name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.naming import known_models, model_named, unknown_model
from agent.coordinator.features.market import supply
from agent.coordinator.features.market.supply import Cheapest
from agent.coordinator.operations.context import Context
from aitbc.answers import fields


class Model(BaseModel, defer_build=True):
    """A model. `service_id` is the service that it is for; `created` is always 0, since the date is unknown.

    `price` is the lowest for a `unit`; both are null while no miner would run the model without downloading it.
    """

    id: str = Field(examples=["smollm2-135m-instruct"])
    object: Literal["model"]
    created: int = Field(examples=[0])
    owned_by: str = Field(examples=["HuggingFaceTB"])
    service_id: fields.ServiceId
    available: bool = Field(description="Whether a miner that is online would run it now")
    miners: int = Field(ge=0, description="Miners that would run it now", examples=[12])
    price: fields.Amount | None
    unit: str | None = Field(examples=["token"])


class ModelList(BaseModel, defer_build=True):
    """All models."""

    object: Literal["list"]
    data: list[Model]


async def find_all(context: Context, *, available: bool = False) -> ModelList:
    """Return the models for text, embeddings, speech and images, in this order; with `available`, those that can be used now."""
    models: dict[str, Model] = {}
    for service_id in services.SERVICES:
        definition = context.catalogue.services.get(service_id)
        supplied = await supply.models(context, service_id)
        for name in await known_models(context, definition) if definition else ():
            if not available or supplied.get(name, Cheapest()).miners:
                # If two services know a model by the same name, the first counts, since a request names only the model.
                models.setdefault(name, _model(context, name, service_id, supplied.get(name, Cheapest())))
    return ModelList(object="list", data=list(models.values()))


async def find(context: Context, name: str) -> Model:
    """Return the model that requests can call so. Raises `NotFound`, which names the nearest."""
    names: list[str] = []
    for service_id in services.SERVICES:
        definition = context.catalogue.services.get(service_id)
        if definition is None:
            continue
        model = await model_named(context, definition, name)
        if model is not None:
            supplied = await supply.models(context, service_id)
            answer = _model(context, model, service_id, supplied.get(model, Cheapest()))
            return answer.model_copy(update={"id": name})
        names += await known_models(context, definition)
    raise unknown_model(name, sorted(set(names)))


def _model(context: Context, name: str, service_id: str, supplied: Cheapest) -> Model:
    entry = context.catalogue.models.get(name)
    owner, slash, _ = (entry.repository if entry and entry.repository else "").partition("/")
    return Model(
        id=name,
        object="model",
        created=0,
        owned_by=owner if slash else "aitbc",
        service_id=service_id,
        **supplied.fields(),
    )
