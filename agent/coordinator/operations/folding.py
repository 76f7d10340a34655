"""Moves recent changes of counted figures into those of all time."""

from __future__ import annotations

from agent.coordinator.operations.context import Context
from agent.coordinator.store import changed_balances, counts


async def fold_changes(context: Context) -> None:
    """Move recent changes of numbers of jobs and of balances into those of all time. Every replica does so: an older leader would not."""
    if context.database.concurrent:
        await context.database.write(counts.fold)
        await context.database.write(changed_balances.fold)
