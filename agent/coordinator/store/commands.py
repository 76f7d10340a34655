"""Commands of owners that their miners have not executed yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import miner_commands
from agent.core.commands import Command, CommandKind


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command as stored."""

    command_id: str
    miner_id: str
    command: Command
    created_at: float


_COLUMNS = tuple(
    miner_commands.c[name]
    for name in ("command_id", "miner_id", "kind", "gpu", "seconds", "model", "created_at")
)
_waiting = Prepared(
    select(*_COLUMNS)
    .where(miner_commands.c.miner_id == bindparam("key"))
    .order_by(miner_commands.c.miner_id, miner_commands.c.command_id)
)


def add(connection: Connection, record: CommandRecord) -> None:
    """Store a command."""
    command = record.command
    values = {
        "command_id": record.command_id, "miner_id": record.miner_id, "kind": command.kind.value, "gpu": command.gpu,
        "seconds": command.seconds, "model": command.model, "created_at": record.created_at,
    }  # fmt: skip
    connection.execute(insert(miner_commands), values)


def waiting(connection: Connection, miner_id: str) -> list[CommandRecord]:
    """Return the commands that a miner has not executed yet, in the order in which they were given."""
    return [_record(*row) for row in _waiting.rows(connection, {"key": miner_id})]


def waiting_for(connection: Connection, miner_ids: Sequence[str]) -> dict[str, list[CommandRecord]]:
    """Return the same for several miners, without those that have no commands."""
    query = (
        select(*_COLUMNS)
        .where(miner_commands.c.miner_id.in_(miner_ids))
        .order_by(miner_commands.c.command_id)
    )
    found: defaultdict[str, list[CommandRecord]] = defaultdict(list)
    for row in connection.execute(query):
        record = _record(*row)
        found[record.miner_id].append(record)
    return dict(found)


def remove(connection: Connection, miner_id: str, command_ids: Collection[str]) -> None:
    """Delete commands of a miner. Unknown ids and other miners' commands are ignored."""
    if command_ids:
        connection.execute(
            delete(miner_commands).where(
                miner_commands.c.miner_id == miner_id, miner_commands.c.command_id.in_(command_ids)
            )
        )


def remove_all(connection: Connection, miner_id: str) -> None:
    """Delete all commands of a miner."""
    connection.execute(delete(miner_commands).where(miner_commands.c.miner_id == miner_id))


def _record(
    command_id: str,
    miner_id: str,
    kind: str,
    gpu: str | None,
    seconds: float | None,
    model: str | None,
    created_at: float,
) -> CommandRecord:
    return CommandRecord(command_id, miner_id, Command(CommandKind(kind), gpu, seconds, model), created_at)
