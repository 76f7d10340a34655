"""Commands for miners: by their owners, and to fetch the model of a queued job in advance."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import structlog

from agent.coordinator.features.machines import store
from agent.coordinator.features.machines.settings import MachineSettings
from agent.coordinator.features.machines.store import CommandRecord
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.store import locks
from agent.core.commands import Command, SettingsChange
from agent.core.errors import Conflict, invalid_request
from agent.core.values.quantities import format_time
from agent.protocol import answers
from agent.protocol.messages import Heartbeat
from agent.sections import section_of
from aitbc.answers.accounts import Role
from aitbc.answers.miners import QueuedCommand

AWAITED_CACHE_SECONDS: Final = 1.0
MAX_MODELS: Final = 100
"""Number of awaited models that are considered, those with the most jobs first."""

log = structlog.get_logger()


async def give(
    context: Context, caller: Caller, miner_id: str, command: Command, *, former: SettingsChange | None = None
) -> QueuedCommand:
    """Queue a command for one of the caller's miners. It stays queued until the miner has executed it.

    `former` are the settings that it changes. Raises `NotFound` for another owner's miner, `ValidationFailed` for a GPU that it does not have, `Conflict` if too many
    commands are queued.
    """
    record = CommandRecord(
        context.new_id("command"), miner_id, command, context.clock(), given_by=_name(caller), former=former
    )
    await context.database.write(
        _give, caller, record, section_of(context.settings, MachineSettings).max_commands_per_miner
    )
    # Commands go out with the answer to a heartbeat, so this saves the wait for the next one.
    context.dispatcher.ask_for_heartbeat(miner_id)
    log.info(
        "miner_ordered", miner_id=miner_id, command=command.kind, command_id=record.command_id, by=caller.role
    )
    return QueuedCommand(
        command_id=record.command_id,
        command=command.kind.value,
        created_at=format_time(record.created_at),
    )


def _name(caller: Caller) -> str:
    """Return who gives a command, for the miner's history."""
    role = "owner" if caller.role is Role.MINER else "administrator"
    return f"{role} ({caller.name})" if caller.name else role


def _give(connection: Connection, caller: Caller, record: CommandRecord, max_waiting: int) -> None:
    # The limit must hold for commands that are given at the same time.
    locks.session(connection, record.miner_id)
    miner = of_caller(connection, caller, record.miner_id)
    command = record.command
    gpus = [gpu["uuid"] for gpu in json.loads(miner.capabilities)["gpus"]]
    if command.gpu is not None and command.gpu not in gpus:
        has = ", ".join(gpus) or "none"
        raise invalid_request({"gpu": f"the miner has no such GPU; it has {has}"})
    waiting = store.waiting(connection, record.miner_id)
    # Of two commands about the same GPU or model, only the newer one counts.
    replaced = {former.command_id for former in waiting if command.replaces(former.command)}
    if len(waiting) - len(replaced) >= max_waiting:
        raise Conflict(
            f"{max_waiting} commands are queued for this miner, which is the limit. It has not connected to execute them.",
            {"limit": max_waiting},
        )
    store.remove(connection, record.miner_id, replaced)
    store.add(connection, record)


def on_the_wire(record: CommandRecord) -> answers.Command:
    """Return a command as it is in the answer to a heartbeat."""
    command = record.command
    return answers.Command(
        command_id=record.command_id,
        command=command.kind.value,
        gpu=command.gpu,
        seconds=command.seconds,
        model=command.model,
        settings=None
        if command.settings is None
        else answers.NewSettings(
            prices=dict(command.settings.prices),
            schedule=_listed(command.settings.schedule),
            engines=_listed(command.settings.engines),
        ),
    )


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def miner_reported(connection: Connection, context: Context, report: MinerReport) -> None:
    """Store which commands the miner has executed or refused. Add those that wait for it, and a hint if it has time for one."""
    miner_id, beat = report.miner_id, report.heartbeat
    # Nobody will execute its commands.
    if report.removed:
        store.remove_all(connection, miner_id)
    if beat is None:
        return
    if beat.executed:
        refusals = {refused.command_id: refused.reasons for refused in beat.refused}
        store.settle(connection, miner_id, beat.executed, refusals, context.clock())
    report.commands += [on_the_wire(record) for record in store.waiting(connection, miner_id)]
    if beat.paused is None:
        report.commands += _hints(connection, context, miner_id, beat)


def _hints(connection: Connection, context: Context, miner_id: str, beat: Heartbeat) -> list[answers.Command]:
    """Return at most one command, for a busy miner. A miner with a free slot gets the job itself, and fetches the model for it."""
    port = context.dispatcher.connected(miner_id)
    if port is None or port.free.slots > 0:
        return []
    # The connection gets what the heartbeat reports only once that is stored.
    reported = None if beat.capabilities is None else beat.capabilities.model_dump(mode="json")
    services = (reported or port.capabilities)["services"]
    for service, model in context.part(AwaitedModels).read(connection, context.clock()):
        offer = services.get(service)
        # One hint at a time: a download takes a while, and by then the queue looks different.
        if offer is not None and _could_fetch(context, offer, model):
            return [answers.Command(command="fetch_model", model=model)]
    return []


class AwaitedModels:
    """Services and models for which jobs wait, as they were a moment ago: each miner asks with each heartbeat, and the answer is the same for all."""

    def __init__(self) -> None:
        self._models: list[tuple[str, str]] = []
        self._read_at = -math.inf

    def read(self, connection: Connection, now: float) -> list[tuple[str, str]]:
        """Return them, those with the most jobs first."""
        if now - self._read_at >= AWAITED_CACHE_SECONDS:
            self._models, self._read_at = store.awaited_models(connection, MAX_MODELS), now
        return self._models

    async def close(self) -> None:
        """Do nothing: it holds only values."""


def _could_fetch(context: Context, offer: dict[str, Any], model: str) -> bool:
    entry = context.catalogue.models.get(model)
    return (
        offer["downloadable"]
        and entry is not None
        and entry.repository is not None
        and model not in offer["models"]
        and model not in offer["unavailable_models"]
    )
