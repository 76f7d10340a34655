"""procrastinate on PostgreSQL, with `synchronous_commit=on`."""

from __future__ import annotations

import asyncio
import os
import sys

import counting
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["PEERS_POSTGRESQL"]))


@app.task(name="noop")
async def noop() -> None:
    """Do nothing."""
    counting.count()


async def enqueue(number: int) -> None:
    """Add jobs, one transaction each."""
    async with app.open_async():
        for _ in range(number):
            await noop.defer_async()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
