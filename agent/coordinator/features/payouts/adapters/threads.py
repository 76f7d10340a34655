"""A thread for each adapter, so that one that blocks or hangs delays nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class AdapterBusy(Exception):
    """The adapter's previous call has not ended, although its time limit has passed."""


class AdapterThread:
    """Runs calls of one adapter, one at a time, on an event loop in a thread of its own, which starts with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = threading.Event()
        self._ended.set()

    @property
    def started(self) -> bool:
        """Whether there was a call."""
        return self._loop is not None

    async def call(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        """Return the result of a call. Raises `TimeoutError` after `seconds`, `AdapterBusy`, and the errors of the call."""
        # A call that has passed its limit may still run. A second one beside it would surprise an adapter, which expects one at a
        # time.
        if not self._ended.is_set():
            raise AdapterBusy(f"The previous call of the adapter {self._name} has not ended.")
        self._ended.clear()
        caller_loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = caller_loop.create_future()
        adapter_loop = self._started()
        task: asyncio.Task[T] | None = None

        def begin() -> None:
            nonlocal task
            task = adapter_loop.create_task(make())
            task.add_done_callback(deliver)

        def deliver(ended_task: asyncio.Task[T]) -> None:
            self._ended.set()
            # The coordinator may have stopped while the adapter was blocked.
            if not caller_loop.is_closed():
                caller_loop.call_soon_threadsafe(_settle, result, ended_task)

        adapter_loop.call_soon_threadsafe(begin)
        try:
            async with asyncio.timeout(seconds):
                return await result
        finally:
            adapter_loop.call_soon_threadsafe(lambda: None if task is None else task.cancel())

    def stop(self) -> None:
        """End the thread, as soon as it does not block."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = asyncio.new_event_loop()

            def run() -> None:
                loop.run_forever()
                # Tasks may start others while they are cancelled, so this repeats until none is left.
                while tasks := asyncio.all_tasks(loop):
                    for task in tasks:
                        task.cancel()
                    loop.run_until_complete(asyncio.wait(tasks))
                loop.close()

            # A daemon, because a call that hangs must not keep the process alive.
            threading.Thread(target=run, name=f"payouts-{self._name}", daemon=True).start()
        return self._loop


def _settle(result: asyncio.Future[T], ended_task: asyncio.Task[T]) -> None:
    # The caller has given up waiting.
    if result.done():
        return
    if ended_task.cancelled():
        result.set_exception(TimeoutError())
    elif (error := ended_task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(ended_task.result())
