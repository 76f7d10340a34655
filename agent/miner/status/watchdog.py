"""Checks that the miner's own parts make progress, by using them."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.core.liveness import Liveness
from agent.miner.executor.contract import Executor
from agent.miner.runs.outbox import Outbox

POLL_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 120.0
"""How long a part may be silent before it counts as hung. Reports normally come every few seconds, but the outbox's thread
also removes the files of finished jobs, which can take a while."""


async def supervise(liveness: Liveness, outbox: Outbox, executor: Executor) -> None:
    """Until cancelled, check that the outbox's database answers and that the children are monitored."""
    loop = asyncio.get_running_loop()
    try:
        liveness.report("children", loop.time(), SILENCE_SECONDS)
        while True:
            liveness.report("outbox", loop.time(), SILENCE_SECONDS)
            await outbox.ping()
            if executor.supervised:
                liveness.report("children", loop.time(), SILENCE_SECONDS)
            await asyncio.sleep(POLL_SECONDS)
    finally:
        liveness.leave("outbox")
        liveness.leave("children")
