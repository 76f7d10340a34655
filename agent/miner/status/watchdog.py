"""Reports whether the miner's own parts still make progress, by using them."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.core.liveness import Liveness
from agent.miner.executor.local import LocalExecutor
from agent.miner.runs.outbox import Outbox

LOOK_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 120.0
"""How long a part may be silent before it counts as hung. The outbox's thread also removes the files of finished jobs, which
takes a while for a film; a report comes every few seconds otherwise."""


async def supervise(liveness: Liveness, outbox: Outbox, executor: LocalExecutor) -> None:
    """Until cancelled: see that the outbox's database answers, and that somebody watches over the children."""
    loop = asyncio.get_running_loop()
    try:
        liveness.report("children", loop.time(), SILENCE_SECONDS)
        while True:
            liveness.report("outbox", loop.time(), SILENCE_SECONDS)
            await outbox.answers()
            if executor.supervised:
                liveness.report("children", loop.time(), SILENCE_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        liveness.leave("outbox")
        liveness.leave("children")
