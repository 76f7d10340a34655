"""Background tasks, with an owner that logs their failures and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


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
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("task_failed", task=task.get_name(), exc_info=task.exception())


def retrieve(task: asyncio.Task[Any]) -> None:
    """Mark a task's error as retrieved, in case nobody waits for it any more."""
    if not task.cancelled():
        task.exception()
