"""Commands for miners: those that wait, and a history of those that were executed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from agent.coordinator.features.machines.tables import miner_commands
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs
from agent.coordinator.store.unfinished import in_state
from agent.core.commands import Command, CommandKind, SettingsChange
from agent.core.jobs import JobState

MAX_HISTORY: Final = 100
"""How many executed commands of a miner are retained, the newest ones."""


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command as stored. `given_by` names who gave it, `former` are the settings that it changes, `refusal` why it was refused."""

    command_id: str
    miner_id: str
    command: Command
    created_at: float
    given_by: str = ""
    former: SettingsChange | None = None
    executed_at: float | None = None
    refusal: Sequence[str] = field(default=())


_COLUMNS = tuple(
    miner_commands.c[name]
    for name in (
        "command_id", "miner_id", "kind", "gpu", "seconds", "model", "created_at", "given_by", "settings", "executed_at",
        "refusal",
    )
)  # fmt: skip
_UNEXECUTED = miner_commands.c.executed_at.is_(None)
_waiting = Prepared(
    select(*_COLUMNS)
    .where(miner_commands.c.miner_id == bindparam("key"), _UNEXECUTED)
    .order_by(miner_commands.c.miner_id, miner_commands.c.command_id)
)


def add(connection: Connection, record: CommandRecord) -> None:
    """Store a command, and delete the oldest ones of the miner's history."""
    command = record.command
    settings = None
    if command.settings is not None and record.former is not None:
        settings = json.dumps({"new": asdict(command.settings), "before": asdict(record.former)})
    values = {
        "command_id": record.command_id, "miner_id": record.miner_id, "kind": command.kind.value, "gpu": command.gpu,
        "seconds": command.seconds, "model": command.model, "created_at": record.created_at, "given_by": record.given_by,
        "settings": settings,
    }  # fmt: skip
    connection.execute(insert(miner_commands), values)
    _shorten_history(connection, record.miner_id)


def _shorten_history(connection: Connection, miner_id: str) -> None:
    executed = (miner_commands.c.miner_id == miner_id) & ~_UNEXECUTED
    newest = select(miner_commands.c.command_id).where(executed).order_by(miner_commands.c.command_id.desc())
    # Commands that wait are not counted: they must not be lost before they are executed.
    oldest_retained = connection.scalar(newest.offset(MAX_HISTORY - 1).limit(1))
    if oldest_retained is not None:
        connection.execute(
            delete(miner_commands).where(executed, miner_commands.c.command_id < oldest_retained)
        )


def waiting(connection: Connection, miner_id: str) -> list[CommandRecord]:
    """Return the commands that a miner has not executed yet, in the order in which they were given."""
    return [_record(row) for row in _waiting.rows(connection, {"key": miner_id})]


def waiting_for(connection: Connection, miner_ids: Sequence[str]) -> dict[str, list[CommandRecord]]:
    """Return the same for several miners, without those that have no commands."""
    query = (
        select(*_COLUMNS)
        .where(miner_commands.c.miner_id.in_(miner_ids), _UNEXECUTED)
        .order_by(miner_commands.c.command_id)
    )
    by_miner: defaultdict[str, list[CommandRecord]] = defaultdict(list)
    for row in connection.execute(query):
        record = _record(row)
        by_miner[record.miner_id].append(record)
    return dict(by_miner)


def newest(connection: Connection, miner_id: str, limit: int) -> list[CommandRecord]:
    """Return a miner's newest commands, whether executed or not, the newest first."""
    query = (
        select(*_COLUMNS)
        .where(miner_commands.c.miner_id == miner_id)
        .order_by(miner_commands.c.command_id.desc())
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(query)]


def settle(
    connection: Connection,
    miner_id: str,
    command_ids: Collection[str],
    refusals: Mapping[str, Sequence[str]],
    now: float,
) -> None:
    """Store that commands were executed, or refused for the reasons in `refusals`. Unknown ids and other miners' commands are ignored."""
    # Only its own commands, and each only once: a heartbeat may be repeated.
    change = update(miner_commands).where(miner_commands.c.miner_id == miner_id, _UNEXECUTED)
    for command_id in command_ids:
        reasons = refusals.get(command_id)
        connection.execute(
            change.where(miner_commands.c.command_id == command_id),
            {"executed_at": now, "refusal": None if reasons is None else json.dumps(list(reasons))},
        )


def remove(connection: Connection, miner_id: str, command_ids: Collection[str]) -> None:
    """Delete commands of a miner."""
    if command_ids:
        connection.execute(
            delete(miner_commands).where(
                miner_commands.c.miner_id == miner_id, miner_commands.c.command_id.in_(command_ids)
            )
        )


def remove_all(connection: Connection, miner_id: str) -> None:
    """Delete all commands of a miner."""
    connection.execute(delete(miner_commands).where(miner_commands.c.miner_id == miner_id))


def _record(row: Sequence[Any]) -> CommandRecord:
    command_id, miner_id, kind, gpu, seconds, model, created_at, given_by, *outcome = row
    settings, executed_at, refusal = outcome
    stored = json.loads(settings) if settings else {}
    new_settings, former_settings = (
        _settings(stored[name]) if name in stored else None for name in ("new", "before")
    )
    return CommandRecord(
        command_id,
        miner_id,
        Command(CommandKind(kind), gpu, seconds, model, new_settings),
        created_at,
        given_by,
        former_settings,
        executed_at,
        json.loads(refusal) if refusal else (),
    )


def _settings(stored: Mapping[str, list[str] | dict[str, str | None] | None]) -> SettingsChange:
    """Return settings from JSON, in which tuples are lists."""
    return SettingsChange(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}  # type: ignore[arg-type] # as `asdict` wrote them
    )


def awaited_models(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """Return services and models of waiting jobs that any miner may claim, those with the most jobs first."""
    groups = (
        select(jobs.c.service, jobs.c.model)
        .where(
            *in_state(connection, JobState.SUBMITTED),
            jobs.c.missing_files.is_(None),
            jobs.c.requested_miner_id.is_(None),
            jobs.c.model.is_not(None),
        )
        .group_by(jobs.c.service, jobs.c.model)
        .order_by(func.count().desc(), jobs.c.service, jobs.c.model)
    )
    return [(row.service, row.model) for row in connection.execute(groups.limit(limit))]
