"""`/v1/miners` for owners and operators: the machine, what it does and why it does nothing, and commands for it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, status
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.miners import commands, machines
from agent.coordinator.routes._callers import ContextOf, Limit, OwnerOrAdmin
from agent.core.commands import Command, CommandKind
from agent.core.errors import Conflict, NotFound
from agent.core.values import fields
from agent.core.values.fields import Answer

router = APIRouter(route_class=LargeJsonRoute, prefix="/miners", tags=["Miners"])

LONGEST_PAUSE_SECONDS = 366 * 86_400
GpuId = Annotated[
    str, Field(min_length=1, max_length=200, description="A GPU's uuid", examples=["GPU-8a56a4bc"])
]
Model = Annotated[str, Field(min_length=1, max_length=200, examples=["tiny"])]
CommandName = Literal["pause", "resume", "fetch_model", "remove_model"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PauseRequest(_Request):
    """What is to pause, and for how long: without `gpu` the whole miner, without `seconds` until it is resumed."""

    gpu: GpuId | None = None
    seconds: Annotated[float, Field(gt=0, le=LONGEST_PAUSE_SECONDS, examples=[3600])] | None = None


class ResumeRequest(_Request):
    """What is to go on: without `gpu` the whole miner."""

    gpu: GpuId | None = None


class ModelRequest(_Request):
    """A model of the miner's catalogue."""

    model: Model


class MachineGpu(Answer):
    """A card. Memory in bytes, utilization in percent, temperature in degrees Celsius, power in watts; null where unknown.

    `paused` is the reason for which it takes no work.
    """

    uuid: str = Field(examples=["GPU-8a56a4bc"])
    index: int | None = Field(examples=[0])
    name: str | None = Field(examples=["NVIDIA GeForce RTX 4090"])
    driver: str | None = Field(examples=["570.86"])
    compute_capability: str | None = Field(examples=["8.9"])
    memory_total: int | None = Field(examples=[25757220864])
    memory_free: int | None = Field(examples=[25000000000])
    utilization: float | None = Field(examples=[3])
    temperature: float | None = Field(examples=[41])
    power: float | None = Field(examples=[60.5])
    power_limit: float | None = Field(examples=[450])
    paused: str | None = Field(examples=[None])


class ServiceScore(Answer):
    """How fast the miner was in a benchmark of its own."""

    metric: str = Field(examples=["audio second/s"])
    value: float = Field(examples=[41.7])
    device: str | None = Field(default=None, examples=["NVIDIA GeForce RTX 4090"])


class MachineService(Answer):
    """A service that the miner offers: models on its disk, those loaded now, those that it does not take now."""

    service_id: fields.ServiceId
    models: list[str] = Field(examples=[["tiny.en"]])
    loaded: list[str] = Field(examples=[["tiny.en"]])
    unavailable_models: list[str] = Field(examples=[[]])
    unit_price: fields.Amount
    unit: str | None = Field(examples=["token"])
    concurrency: int = Field(examples=[1])
    downloadable: bool
    score: ServiceScore | None


class IdleShare(Answer):
    """A part of the last hour, and what it was spent with: `working`, or why there was no work."""

    reason: str = Field(examples=["no job that fits is waiting"])
    share: float = Field(ge=0, le=1, examples=[0.62])


class MachineDownload(Answer):
    """A model on its way to the disk, in bytes; `total` is null while unknown."""

    model: str = Field(examples=["tiny"])
    done: int = Field(examples=[33554432])
    total: int | None = Field(examples=[75572083])


class MachineJob(Answer):
    """A job that runs on the miner."""

    job_id: fields.JobId
    service_id: fields.ServiceId
    progress: fields.Percentage
    started_at: fields.Time | None


class QueuedCommand(Answer):
    """A command that the miner is sent until it has executed."""

    command_id: fields.CommandId
    command: CommandName
    created_at: fields.Time


class WaitingCommand(QueuedCommand):
    """A command that the miner has not executed yet; null where something does not apply."""

    gpu: str | None = Field(default=None, examples=[None])
    seconds: float | None = Field(default=None, examples=[3600])
    model: str | None = Field(default=None, examples=[None])


class MinerDetails(Answer):
    """A machine. Sizes are bytes; `paused` is its reason for taking no work; `unavailable` says why services are not offered.

    `sandbox` is what isolates programs that read clients' files: bubblewrap, landlock or none; null where none works or the
    agent is too old to say. `idle` is where its last hour went, as shares that sum to 1; empty where the agent is too old to say.
    """

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    online: bool
    seen_at: fields.Time
    registered_at: fields.Time
    session: int = Field(examples=[4])
    agent_version: str | None = Field(examples=["0.1.0"])
    paused: str | None = Field(examples=[None])
    slots: int = Field(examples=[1])
    cpu_cores: int = Field(examples=[16])
    memory: int = Field(examples=[68719476736])
    disk_free: int = Field(examples=[85899345920])
    sandbox: str | None = Field(examples=["bubblewrap"])
    gpus: list[MachineGpu]
    services: list[MachineService]
    unavailable: dict[str, list[str]] = Field(
        examples=[{"video_transcoding": ["ffmpeg was not found; install it or set runners.ffmpeg."]}]
    )
    idle: list[IdleShare]
    downloads: list[MachineDownload]
    jobs: list[MachineJob]
    commands: list[WaitingCommand]
    reputation: float = Field(examples=[4.8])
    total_earned: fields.Amount


class MinerPage(Answer):
    """Miners, the newest first, and how many there are."""

    miners: list[MinerDetails]
    total: int = Field(examples=[1])
    limit: int = Field(examples=[50])
    offset: int = Field(examples=[0])


class DayEarnings(Answer):
    """What came in on one UTC day, and for how many jobs."""

    date: str = Field(examples=["2024-01-01"], json_schema_extra={"format": "date"})
    amount: fields.Amount
    jobs: int = Field(examples=[12])


class Earnings(Answer):
    """Earnings day by day, the newest last, and their sum."""

    miner_id: fields.MinerId
    days: list[DayEarnings]
    total: fields.Amount


@router.get("", summary="List miners")
async def list_miners(
    context: ContextOf,
    caller: OwnerOrAdmin,
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, le=10**9, description="How many to skip")] = 0,
) -> MinerPage:
    """For administrators all, the newest first; for an owner the own one."""
    return MinerPage(**await machines.all_of(context, caller, limit=limit, offset=offset))


@router.get("/{miner_id}", responses=errors(NotFound), summary="Look at a miner")
async def details(context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId) -> MinerDetails:
    """What the machine has, does, and does not do and why, as it said last. Somebody else's is 404."""
    return MinerDetails(**await machines.one(context, caller, miner_id))


@router.get("/{miner_id}/earnings", responses=errors(NotFound), summary="Earnings by day")
async def earnings(
    context: ContextOf,
    caller: OwnerOrAdmin,
    miner_id: fields.MinerId,
    days: Annotated[int, Query(ge=1, le=366, description="How many, today included")] = 30,
) -> Earnings:
    """What the miner has earned on each of the last days, after the operator's fee."""
    return Earnings(**await machines.earnings(context, caller, miner_id, days))


@router.post(
    "/{miner_id}/pause",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Pause a miner or a GPU",
)
async def pause(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: PauseRequest | None = None
) -> QueuedCommand:
    """It takes no more work and gives its memory back; what runs, ends. A command for the same takes the place of a former one."""
    asked = request or PauseRequest()
    command = Command(CommandKind.PAUSE, gpu=asked.gpu, seconds=asked.seconds)
    return QueuedCommand(**await commands.give(context, caller, miner_id, command))


@router.post(
    "/{miner_id}/resume",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Resume a miner or a GPU",
)
async def resume(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: ResumeRequest | None = None
) -> QueuedCommand:
    """It takes work again."""
    command = Command(CommandKind.RESUME, gpu=request.gpu if request else None)
    return QueuedCommand(**await commands.give(context, caller, miner_id, command))


@router.post(
    "/{miner_id}/models",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Have a model fetched",
)
async def fetch_model(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, request: ModelRequest
) -> QueuedCommand:
    """The miner downloads it as its catalogue says; `downloads` of the miner shows how far it is."""
    command = Command(CommandKind.FETCH_MODEL, model=request.model)
    return QueuedCommand(**await commands.give(context, caller, miner_id, command))


@router.delete(
    "/{miner_id}/models/{model}",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Have a model removed",
)
async def remove_model(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, model: Model
) -> QueuedCommand:
    """The miner removes it from its disk as soon as no job uses it."""
    command = Command(CommandKind.REMOVE_MODEL, model=model)
    return QueuedCommand(**await commands.give(context, caller, miner_id, command))
