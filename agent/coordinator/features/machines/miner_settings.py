"""A miner's settings that its owner or an administrator can change from the coordinator, and its newest commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from agent.configuring.errors import InvalidSettings
from agent.configuring.reading import check_values
from agent.coordinator.features.machines import commands, store
from agent.coordinator.features.machines.store import CommandRecord
from agent.coordinator.operations.answers import sale_units
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.core.commands import Command, CommandKind, SettingsChange
from agent.core.errors import Conflict, invalid_request
from agent.core.values.quantities import format_money, format_optional_time, format_time
from agent.protocol.messages import Capabilities, ReportedSettings
from aitbc.answers.miners import (
    ChangedSetting,
    GivenCommand,
    MinerSettings,
    QueuedCommand,
    ServiceEngines,
    ServicePrice,
)
from runners.near_names import hint

SHOWN: Final = 20
"""How many of the newest commands are shown."""
_TOO_OLD: Final = (
    "The agent of this machine is too old for changes from here. Update it, or change the settings there."
)


def show(connection: Connection, context: Context, caller: Caller, miner_id: str) -> MinerSettings:
    """Return the settings of one of the caller's miners. Raises `NotFound`."""
    capabilities, reported = _reported(connection, caller, miner_id)
    kind = "cuda" if capabilities.gpus else "cpu"
    prices = []
    for service, offer in capabilities.services.items():
        definition = context.catalogue.services.get(service)
        setting = reported.prices.get(service)
        prices.append(
            ServicePrice(
                service_id=service,
                unit=None if definition is None else definition.unit_on(kind),
                sale_units=sale_units(definition, kind),
                unit_price=format_money(offer.unit_price),
                setting=None if setting is None else format_money(setting),
                default=format_money(reported.default_prices.get(service, offer.unit_price)),
            )
        )
    return MinerSettings(
        miner_id=miner_id,
        locked=reported.locked,
        prices=prices,
        schedule=reported.schedule,
        engines=[
            ServiceEngines(service_id=service, engines=engines)
            for service, engines in reported.engines.items()
        ],
        preferred_engines=reported.preferred,
        history=[_given(command) for command in store.newest(connection, miner_id, SHOWN)],
    )


def _reported(connection: Connection, caller: Caller, miner_id: str) -> tuple[Capabilities, ReportedSettings]:
    record = of_caller(connection, caller, miner_id)
    capabilities = Capabilities.model_validate_json(record.capabilities)
    # Agents of earlier versions do not report their settings, nor can they change them.
    return capabilities, capabilities.settings or ReportedSettings(locked=_TOO_OLD)


async def change(context: Context, caller: Caller, miner_id: str, change: SettingsChange) -> QueuedCommand:
    """Queue a change of settings for one of the caller's miners, which validates it with all its other settings.

    Raises `NotFound`, `ValidationFailed` in the words of `aitbc-agent config check`, `Conflict` if the machine allows no changes.
    """
    capabilities, reported = await context.database.read(_reported, caller, miner_id)
    # The owner decides on the machine itself whether it may be changed from here.
    if reported.locked is not None:
        raise Conflict(f"The settings were not changed. {reported.locked}")
    errors = {**_unknown(change, capabilities, reported), **_invalid(change)}
    if errors:
        raise invalid_request(errors)
    former = SettingsChange(
        {service: _written(reported.prices.get(service)) for service in change.prices},
        None if change.schedule is None else tuple(reported.schedule),
        None if change.engines is None else tuple(reported.preferred),
    )
    command = Command(CommandKind.CHANGE_SETTINGS, settings=change)
    return await commands.give(context, caller, miner_id, command, former=former)


def _written(amount: Any) -> str | None:
    return None if amount is None else format_money(amount)


def _unknown(
    change: SettingsChange, capabilities: Capabilities, reported: ReportedSettings
) -> dict[str, str]:
    """Return an error for each service and engine that the miner does not have, by the request's field."""
    services = sorted({*capabilities.services, *capabilities.unavailable, *reported.prices})
    errors = {
        f"prices.{service}": f"the machine has no service {service!r}.{hint(service, services)}"
        for service in change.prices
        if service not in services
    }
    installed = {engine for engines in reported.engines.values() for engine in engines if engine is not None}
    # An engine that is preferred now may stay in the list, even if it is not installed any more.
    accepted = installed | set(reported.preferred)
    for engine in change.engines or ():
        if engine not in accepted:
            has = ", ".join(sorted(installed)) or "none"
            errors["engines"] = f"the engine {engine!r} is not installed on the machine; it has {has}"
    return errors


def _invalid(change: SettingsChange) -> dict[str, str]:
    """Return an error for each value that the settings file does not allow, by the request's field."""
    miner: dict[str, Any] = {
        "prices": {service: price for service, price in change.prices.items() if price is not None}
    }
    if change.schedule is not None:
        miner["pause"] = {"schedule": list(change.schedule)}
    try:
        # The same check as on the machine, so that most mistakes are found before the command is queued.
        check_values({"miner": miner})
    except InvalidSettings as error:
        return {
            problem.key.removeprefix("miner.").removeprefix("pause."): " ".join(
                filter(None, (problem.message, problem.suggestion))
            )
            for problem in error.errors
        }
    return {}


def _given(record: CommandRecord) -> GivenCommand:
    command = record.command
    return GivenCommand(
        command_id=record.command_id,
        command=command.kind.value,
        created_at=format_time(record.created_at),
        given_by=record.given_by,
        gpu=command.gpu,
        seconds=command.seconds,
        model=command.model,
        changes=[] if command.settings is None else list(_changes(command.settings, record.former)),
        executed_at=format_optional_time(record.executed_at),
        refusal=list(record.refusal),
    )


def _changes(requested: SettingsChange, former_change: SettingsChange | None) -> Iterator[ChangedSetting]:
    former = former_change or SettingsChange()
    for service, price in requested.prices.items():
        yield ChangedSetting(
            setting=f"miner.prices.{service}", before=former.prices.get(service), after=price
        )
    if requested.schedule is not None:
        yield ChangedSetting(
            setting="miner.pause.schedule",
            before=_list(former.schedule),
            after=_list(requested.schedule),
        )
    if requested.engines is not None:
        yield ChangedSetting(
            setting="engines.preferred", before=_list(former.engines), after=_list(requested.engines)
        )


def _list(values: tuple[str, ...] | None) -> str | None:
    return json.dumps(list(values)) if values else None
