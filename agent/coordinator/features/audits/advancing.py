"""The rounds in which audits advance. Each step reads what is due from the database, so a crash between two of them only delays."""

from __future__ import annotations

from agent.coordinator.features.audits import canaries
from agent.coordinator.features.audits.rounds import asking, deciding, settling
from agent.coordinator.features.audits.store import audits
from agent.coordinator.operations.context import Context


async def advance(context: Context) -> None:
    """Submit audit jobs and canaries that are due, read opinions, decide, and carry out what follows."""
    await canaries.submit_due(context)
    # Most of the time nothing is open, and this runs every second.
    if not await context.database.read(audits.anything_open):
        return
    # In this order, an audit whose job is given up can be decided, and another auditor asked, in the same round.
    await asking.give_up(context)
    await deciding.collect(context)
    await asking.ask(context)
    await settling.settle(context)
