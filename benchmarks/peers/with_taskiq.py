"""Taskiq with Redis' lists."""

from __future__ import annotations

import asyncio
import os
import sys

import counting
from taskiq_redis import ListQueueBroker

broker = ListQueueBroker(os.environ["PEERS_REDIS"])


@broker.task(task_name="noop")
async def noop() -> None:
    """Do nothing."""
    counting.count()


async def enqueue(number: int) -> None:
    """Add jobs."""
    await broker.startup()
    for _ in range(number):
        await noop.kiq()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(enqueue(int(sys.argv[1])))
