"""Two calls to a coordinator on PostgreSQL whose transactions overlap in a forced order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import psycopg

LIMIT_SECONDS = 180


class _Gate:
    def __init__(self) -> None:
        self.first = threading.Lock()
        self.reached = threading.Event()
        self.go = threading.Event()


@contextmanager
def _stopping(step: tuple[ModuleType, str], *, after: bool) -> Iterator[_Gate]:
    """Stop the first call of a function before it begins, or after it has returned, until the gate opens."""
    gate, original = _Gate(), getattr(*step)

    def stop() -> None:
        if gate.first.acquire(blocking=False):
            gate.reached.set()
            assert gate.go.wait(LIMIT_SECONDS)

    def stopping(*args: Any, **kwargs: Any) -> Any:
        if not after:
            stop()
        value = original(*args, **kwargs)
        if after:
            stop()
        return value

    with mock.patch.object(*step, stopping):
        yield gate


def overlapping(
    url: str,
    first: Callable[[], Any],
    second: Callable[[], Any],
    step: tuple[ModuleType, str],
    *,
    after: bool = False,
) -> tuple[Any, Any]:
    """Run `first` until it calls a function, then `second` until it ends or waits for a lock, then the rest of both.

    Return what each returned or raised.
    """
    with (
        ThreadPoolExecutor(2) as pool,
        _stopping(step, after=after) as gate,
        psycopg.connect(url, autocommit=True) as observer,
    ):
        one = pool.submit(first)
        while not gate.reached.wait(0.005):
            assert not one.done(), f"it ended before {step[1]}: {_outcome(one)}"
        two = pool.submit(second)
        deadline = time.monotonic() + LIMIT_SECONDS
        while not two.done() and not _waits(observer):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        gate.go.set()
        return _outcome(one), _outcome(two)


def _waits(observer: psycopg.Connection) -> bool:
    """Return whether a transaction of the database waits for another one."""
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return row is not None and row[0] > 0


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result(LIMIT_SECONDS)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
