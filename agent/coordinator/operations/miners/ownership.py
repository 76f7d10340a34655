"""Whose miner it is: what owners see and do is for the miners of their fleet."""

from __future__ import annotations

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection
from agent.coordinator.store import miners
from agent.coordinator.store.miners import MinerRecord
from agent.core.errors import NotFound
from agent.core.values.quantities import format_time
from aitbc.answers.accounts import Role


def of_caller(connection: Connection, caller: Caller, miner_id: str, *, removed: bool = False) -> MinerRecord:
    """Return the miner if it is of the caller's fleet or the caller is an administrator, with `removed` even a removed one. Raises `NotFound`."""
    mine = caller.role is Role.ADMIN or caller.miner_id == miner_id
    if not mine and caller.miner_id is not None:
        mine = miners.are_of_one_owner(connection, caller.miner_id, miner_id)
    find = miners.find_former if removed else miners.find
    record = find(connection, miner_id) if mine else None
    if record is None:
        raise NotFound(_missing(connection, miner_id, to_owner=mine), {"miner_id": miner_id})
    return record


def _missing(connection: Connection, miner_id: str, *, to_owner: bool) -> str:
    """Return why there is no such miner. Its owner and administrators (`to_owner`) learn that it was removed."""
    former = miners.find_former(connection, miner_id) if to_owner else None
    if former is None or former.removed_at is None:
        return f"There is no miner {miner_id}."
    removed_at = format_time(former.removed_at)
    return f"The miner {former.name} ({miner_id}) was removed from this network at {removed_at}. Its receipts and earnings remain."
