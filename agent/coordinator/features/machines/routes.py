"""`/v1/miners` for owners and operators: machines, their work and idle time, and commands for them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import Field

from agent.coordinator.features.machines import commands, miner_settings, views
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, ContextOf, Limit, OwnerOrAdmin, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.commands import Command, CommandKind, SettingsChange
from agent.core.errors import Conflict, NotFound
from aitbc.answers import fields
from aitbc.answers.miners import (
    MinerDetails,
    MinerList,
    MinerSettings,
    Overview,
    QueuedCommand,
)

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/miners", tags=["Miners"])

operators = APIRouter(prefix="/v1/admin", tags=["Administration"])

LONGEST_PAUSE_SECONDS = 366 * 86_400
GpuId = Annotated[
    str, Field(min_length=1, max_length=200, description="A GPU's uuid", examples=["GPU-8a56a4bc"])
]
Model = Annotated[str, Field(min_length=1, max_length=200, examples=["tiny"])]


class PauseRequest(RequestBody):
    """What to pause, and for how long: without `gpu` the whole miner, without `seconds` until it is resumed."""

    gpu: GpuId | None = None
    seconds: Annotated[float, Field(gt=0, le=LONGEST_PAUSE_SECONDS, examples=[3600])] | None = None


class ResumeRequest(RequestBody):
    """What to resume: without `gpu` the whole miner."""

    gpu: GpuId | None = None


class ModelRequest(RequestBody):
    """A model of the miner's catalogue."""

    model: Model


class SettingsRequest(RequestBody):
    """The settings to change; all others stay. A price of null is removed, so that the default applies.

    `schedule` are the times of the week at which the machine accepts no jobs. `engines` are preferred to the agent's own environment;
    they must be installed.
    """

    prices: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=40)] | None] = Field(
        default={}, max_length=64, examples=[{"whisper_transcription": "0.0002"}]
    )
    schedule: list[Annotated[str, Field(max_length=100)]] | None = Field(
        default=None, max_length=50, examples=[["Mon-Fri 09:00-18:00"]]
    )
    engines: list[Annotated[str, Field(max_length=100)]] | None = Field(
        default=None, max_length=50, examples=[["faster-whisper"]]
    )


@router.get("", summary="List miners")
async def list_miners(
    context: ContextOf,
    caller: OwnerOrAdmin,
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, le=10**9, description="Number of miners to skip")] = 0,
) -> MinerList:
    """Returns all miners to administrators, newest first, and the miners of an owner's fleet to their owner."""
    return await context.database.read(views.all_of, context, caller, limit, offset)


@router.get("/{miner_id}", responses=errors(NotFound), summary="A miner in full")
async def details(context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId) -> MinerDetails:
    """Returns the machine's hardware, services and activity as the miner last reported them. Another owner's miner is 404."""
    return await context.database.read(views.one, context, caller, miner_id)


@router.post(
    "/{miner_id}/pause",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Pause a miner or a GPU",
)
async def pause(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: PauseRequest | None = None
) -> QueuedCommand:
    """The miner finishes its running jobs, accepts no more, and frees its memory. A new command for the same GPU or miner replaces the previous one."""
    chosen = request or PauseRequest()
    command = Command(CommandKind.PAUSE, gpu=chosen.gpu, seconds=chosen.seconds)
    return await commands.give(context, caller, miner_id, command)


@router.post(
    "/{miner_id}/resume",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Resume a miner or a GPU",
)
async def resume(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: ResumeRequest | None = None
) -> QueuedCommand:
    """The miner or GPU accepts jobs again."""
    command = Command(CommandKind.RESUME, gpu=request.gpu if request else None)
    return await commands.give(context, caller, miner_id, command)


@router.post(
    "/{miner_id}/models",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Fetch a model",
)
async def fetch_model(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: ModelRequest
) -> QueuedCommand:
    """The miner downloads the model as its catalogue specifies; its `downloads` show the progress."""
    command = Command(CommandKind.FETCH_MODEL, model=request.model)
    return await commands.give(context, caller, miner_id, command)


@router.delete(
    "/{miner_id}/models/{model}",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Remove a model",
)
async def remove_model(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, model: Model
) -> QueuedCommand:
    """The miner removes the model from its disk as soon as no job uses it."""
    command = Command(CommandKind.REMOVE_MODEL, model=model)
    return await commands.give(context, caller, miner_id, command)


@router.get(
    "/{miner_id}/settings", responses=errors(NotFound), summary="A miner's settings and their history"
)
async def show_settings(context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId) -> MinerSettings:
    """Returns the prices, schedule and engines of a miner, and its newest commands: who gave them, when, and what they changed."""
    return await context.database.read(miner_settings.show, context, caller, miner_id)


@router.patch(
    "/{miner_id}/settings",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Change a miner's settings",
)
async def change_settings(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: SettingsRequest
) -> QueuedCommand:
    """The miner writes the values to its settings file and applies them without a restart, or refuses them; its history says which.

    409 if the machine does not allow changes from here (`miner.remote_settings`).
    """
    schedule = None if request.schedule is None else tuple(request.schedule)
    engines = None if request.engines is None else tuple(request.engines)
    change = SettingsChange(request.prices, schedule, engines)
    return await miner_settings.change(context, caller, miner_id, change)


@operators.get("/overview", operation_id="admin_overview", summary="Miners and queue")
async def overview(context: ContextOf, _: Admin) -> Overview:
    """All miners with the services that they offer or cannot offer, and the number of jobs in each state."""
    return await context.database.read(views.overview, context)
