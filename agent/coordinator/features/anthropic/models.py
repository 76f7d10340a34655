"""`GET /v1/models` in Anthropic's form."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field

from agent.coordinator.features.client_apis import models, services
from agent.coordinator.operations.context import Context

_UNKNOWN: Final = "1970-01-01T00:00:00Z"


class ModelInfo(BaseModel, defer_build=True):
    """A model for text. `created_at` is the epoch, since the date is unknown."""

    type: Literal["model"] = "model"
    id: str = Field(examples=["smollm2-135m-instruct"])
    display_name: str = Field(examples=["smollm2-135m-instruct"])
    created_at: str = Field(default=_UNKNOWN, examples=[_UNKNOWN])
    lifecycle: Literal["active"] = "active"


class ModelPage(BaseModel, defer_build=True):
    """All models, on one page."""

    data: list[ModelInfo]
    has_more: Literal[False] = False
    first_id: str | None = Field(examples=["smollm2-135m-instruct"])
    last_id: str | None = Field(examples=["smollm2-135m-instruct"])


async def page(context: Context) -> ModelPage:
    """Return the models for text."""
    listed = [
        _info(model) for model in (await models.find_all(context)).data if model.service_id == services.TEXT
    ]
    ids = [model.id for model in listed]
    return ModelPage(data=listed, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None)


async def info(context: Context, name: str) -> ModelInfo:
    """Return one model. Raises `NotFound`, which names the nearest."""
    return _info(await models.find(context, name))


def _info(model: models.Model) -> ModelInfo:
    return ModelInfo(id=model.id, display_name=model.id)
