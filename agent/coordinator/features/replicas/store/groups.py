"""Writes that go together: while transactions of a group are under way, its further items wait, and the next transaction takes them all."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from agent.coordinator.store.database import Together
from agent.core.errors import ServiceUnavailable

AT_ONCE: Final = 2
"""Transactions of a group at a time: one computes while the other one waits for its commit."""
MAX_ITEMS: Final = 256
"""Items of one transaction."""

_Write = Callable[[Callable[[Connection], Sequence[Any]], str, int], Sequence[Any]]


@dataclass(slots=True)
class _Waiting:
    item: Any
    key: Hashable
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Group:
    function: Together[Any, Any, Any]
    shared: Any
    waiting: deque[_Waiting] = field(default_factory=deque)
    threads: int = 0


class Groups:
    """Gathers items and writes them in threads. `write` runs a function of a name that writes so many items in a transaction."""

    def __init__(self, threads: ThreadPoolExecutor, write: _Write) -> None:
        self._threads = threads
        self._write = write
        self._lock = threading.Lock()
        self._groups: dict[Hashable, _Group] = {}

    @property
    def waiting(self) -> int:
        """How many items wait for a transaction."""
        with self._lock:
            return sum(len(group.waiting) for group in self._groups.values())

    def add(
        self, function: Together[Any, Any, Any], shared: Any, item: Any, key: Hashable
    ) -> asyncio.Future[Any]:
        """Have an item written soon. Return the future that receives its outcome."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self._lock:
            group = self._groups.setdefault((function, id(shared)), _Group(function, shared))
            group.waiting.append(_Waiting(item, key, future))
            idle = group.threads < AT_ONCE
            group.threads += idle
        if idle:
            self._threads.submit(self._work, group)
        return future

    def _work(self, group: _Group) -> None:
        while writes := self._take(group):
            self._run(group, writes)

    def _take(self, group: _Group) -> list[_Waiting]:
        """Return the oldest items, without two of the same key."""
        chosen: dict[Hashable, _Waiting] = {}
        with self._lock:
            while group.waiting and len(chosen) < MAX_ITEMS and group.waiting[0].key not in chosen:
                write = group.waiting.popleft()
                chosen[write.key] = write
            group.threads -= not chosen
        return list(chosen.values())

    def _run(self, group: _Group, writes: list[_Waiting]) -> None:
        items = [write.item for write in writes]
        try:
            outcomes = self._write(
                lambda connection: group.function(connection, group.shared, items),
                group.function.__name__,
                len(items),
            )
        except Exception as error:  # noqa: BLE001 - raised at the callers
            if len(writes) == 1 or isinstance(error, ServiceUnavailable):
                outcomes = [error] * len(writes)
            else:
                for write in writes:
                    self._run(group, [write])
                return
        for write, outcome in zip(writes, outcomes, strict=True):
            with suppress(RuntimeError):  # the loop is closed
                write.future.get_loop().call_soon_threadsafe(_resolve, write.future, outcome)


def _resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
