"""Background tasks, with an owner that logs their failures and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, Final

import structlog

_log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 10.0
"""A task that has been cancelled and still runs after this time is cancelled again."""


class Background:
    """Holds references to tasks, logs those that fail, and ends them with their owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` as a task called `name`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def has(self, name: str) -> bool:
        """Whether a task of that name is running."""
        return any(task.get_name() == name for task in self._tasks)

    async def close(self, grace: float = 0) -> None:
        """Wait `grace` seconds for the tasks to end, then cancel them."""
        tasks = list(self._tasks)
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        await end(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("task_failed", task=task.get_name(), exc_info=task.exception())


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended. Their errors count as retrieved.

    A library can lose a cancellation that arrives together with what it waits for. The miner would then never stop.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        for task in ended:
            retrieve(task)
        if pending:
            _log.warning("tasks_do_not_end", tasks=sorted(task.get_name() for task in pending))


def retrieve(task: asyncio.Task[Any]) -> None:
    """Mark a task's error as retrieved, in case nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
