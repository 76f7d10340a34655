"""Applies a time limit to blocking calls.

Drivers, name servers and third parties' probes can hang in an uninterruptible system call. asyncio's own threads would then prevent
the program from exiting, so each such call runs in a daemon thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")


async def call_within(seconds: float, function: Callable[[], _T], *, name: str) -> _T:
    """Run the blocking `function` in a thread called `name` and return what it returns, or raise what it raises.

    Raises `TimeoutError` after `seconds`; the thread is then abandoned and its result discarded.
    """
    async with asyncio.timeout(seconds):
        return await in_thread(function, name=name)


def in_thread(function: Callable[[], _T], *, name: str) -> asyncio.Future[_T]:
    """Run the blocking `function` in a daemon thread called `name`, and return its future result."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only if the function returned it

    def work() -> None:
        try:
            outcome: tuple[_T | None, BaseException | None] = (function(), None)
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller
            outcome = (None, error)
        with suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
