"""Commands for miners: by their owners, and to fetch the model of a queued job in advance."""

from __future__ import annotations

import json
from typing import Any, Final

import structlog

from agent.coordinator.operations.answers.miners import QueuedCommand
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import commands as store
from agent.coordinator.store import locks, queue
from agent.coordinator.store import miners as miner_store
from agent.coordinator.store.commands import CommandRecord
from agent.coordinator.store.miners import MinerRecord
from agent.core.commands import Command, SettingsChange
from agent.core.errors import Conflict, NotFound, ValidationFailed
from agent.core.values.quantities import format_time
from agent.protocol import answers

WAITED_FOR_CACHE_SECONDS: Final = 1.0
MAX_MODELS: Final = 100
"""Number of awaited models that are considered, those with the most jobs first."""
log = structlog.get_logger()


async def give(
    context: Context, caller: Caller, miner_id: str, command: Command, *, before: SettingsChange | None = None
) -> QueuedCommand:
    """Queue a command for one of the caller's miners. It stays queued until the miner has executed it.

    `before` are the settings that it changes. Raises `NotFound` for another owner's miner, `ValidationFailed` for a GPU that it does not have, `Conflict` if too many
    commands are queued.
    """
    record = CommandRecord(
        context.new_id("command"), miner_id, command, context.clock(), given_by=_name(caller), before=before
    )
    await context.database.write(_give, caller, record, context.settings.max_commands_per_miner)
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


def _give(connection: Connection, caller: Caller, record: CommandRecord, most: int) -> None:
    locks.session(connection, record.miner_id)
    miner = of_caller(connection, caller, record.miner_id)
    command = record.command
    known = [gpu["uuid"] for gpu in json.loads(miner.capabilities)["gpus"]]
    if command.gpu is not None and command.gpu not in known:
        has = ", ".join(known) or "none"
        raise ValidationFailed(
            "The request is not valid.", {"gpu": f"the miner has no such GPU; it has {has}"}
        )
    waiting = store.waiting(connection, record.miner_id)
    replaced = {former.command_id for former in waiting if command.replaces(former.command)}
    if len(waiting) - len(replaced) >= most:
        raise Conflict(
            f"{most} commands are queued for this miner, which is the limit. It has not connected to execute them.",
            {"limit": most},
        )
    store.remove(connection, record.miner_id, replaced)
    store.add(connection, record)


def of_caller(connection: Connection, caller: Caller, miner_id: str, *, removed: bool = False) -> MinerRecord:
    """Return the miner if it is of the caller's fleet or the caller is an administrator, with `removed` even a removed one. Raises `NotFound`."""
    mine = caller.role is Role.ADMIN or caller.miner_id == miner_id
    if not mine and caller.miner_id is not None:
        mine = miner_store.are_of_one_owner(connection, caller.miner_id, miner_id)
    find = miner_store.find_former if removed else miner_store.find
    record = find(connection, miner_id) if mine else None
    if record is None:
        raise NotFound(_missing(connection, miner_id, known=mine), {"miner_id": miner_id})
    return record


def _missing(connection: Connection, miner_id: str, *, known: bool) -> str:
    """Return why there is no such miner: `known` callers learn that it was removed."""
    former = miner_store.find_former(connection, miner_id) if known else None
    if former is None or former.removed_at is None:
        return f"There is no miner {miner_id}."
    when = format_time(former.removed_at)
    return f"The miner {former.name} ({miner_id}) was removed from this network at {when}. Its receipts and earnings remain."


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


async def commands_for(context: Context, miner_id: str) -> list[answers.Command]:
    """Return at most one command, for a busy miner. A miner with a free slot gets the job itself, and fetches the model for it."""
    port = context.dispatcher.connected(miner_id)
    if port is None or port.free.slots > 0:
        return []
    for service, model in await _waited_for(context):
        offer = port.capabilities["services"].get(service)
        if offer is not None and _could_fetch(context, offer, model):
            return [answers.Command(command="fetch_model", model=model)]
    return []


def _could_fetch(context: Context, offer: dict[str, Any], model: str) -> bool:
    entry = context.catalogue.get(model)
    return (
        offer["downloadable"]
        and entry is not None
        and entry.repository is not None
        and model not in offer["models"]
        and model not in offer["unavailable_models"]
    )


async def _waited_for(context: Context) -> list[tuple[str, str]]:
    cached = context.caches.awaited_models
    now = context.clock()
    if cached is None or now - cached[0] >= WAITED_FOR_CACHE_SECONDS:
        known = context.dispatcher.unfinished.known
        cached = (now, await context.database.read(queue.models_waited_for, MAX_MODELS, known))
        context.caches.awaited_models = cached
    return cached[1]
