"""Values that are read for many requests: of those that find one too old, one reads it again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agent.coordinator.operations import supply
from agent.coordinator.operations.caches import Caches, Estimates, Fleet
from agent.coordinator.operations.jobs.estimates import REFRESH_SECONDS, estimates
from agent.coordinator.operations.supply import CACHE_SECONDS, fleet

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Reader:
    """A context whose database answers reads one step at a time, each with another value."""

    def __init__(self) -> None:
        self.reads = 0
        self.now = 1000.0
        self.caches = Caches()
        self.database = SimpleNamespace(read=self._read)
        self.answering = asyncio.Event()
        self.answering.set()

    def clock(self) -> float:
        return self.now

    async def _read(self, function: Any, *args: Any) -> Fleet | Estimates:
        self.reads += 1
        number = float(self.reads)
        await asyncio.sleep(0)  # others come meanwhile
        await self.answering.wait()
        if "estimates" in function.__module__:
            return Estimates(args[0], {}, {"": number})
        return Fleet(args[-1], (), {})


@pytest.mark.parametrize(
    ("value", "seconds"), [(estimates, REFRESH_SECONDS), (fleet, CACHE_SECONDS)], ids=["estimates", "fleet"]
)
async def test_many_requests_share_one_read(value: Any, seconds: float) -> None:
    context = Reader()
    first = await asyncio.gather(*(value(context) for _ in range(20)))
    context.now += seconds
    later = await asyncio.gather(*(value(context) for _ in range(20)))
    assert context.reads == 2
    assert all(one is first[0] for one in first)
    assert all(one is later[0] and one is not first[0] for one in later)


async def test_miners_that_change_during_a_read_are_read_again() -> None:
    context: Any = Reader()
    context.answering.clear()
    waiting = [asyncio.create_task(fleet(context)) for _ in range(3)]
    await asyncio.sleep(0)
    context.caches.forget_sessions()
    context.answering.set()
    found = await asyncio.gather(*waiting)
    assert context.reads == 2
    assert all(one is context.caches.supply for one in found)


async def test_the_present_miners_are_read_even_if_some_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "NOW_SECONDS", 0.01)
    context: Any = Reader()
    known = await fleet(context)
    present = await fleet(context, now=True)
    assert context.reads == 2
    assert present is not known
    assert context.caches.supply is present


async def test_attack_impossible_jobs_have_the_miners_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them asks for the present miners, all of which are read: once in a while, for all that wait for it."""
    monkeypatch.setattr(supply, "NOW_SECONDS", 0.2)
    context: Any = Reader()
    known = await fleet(context)
    waiting = [asyncio.create_task(fleet(context, now=True)) for _ in range(10)]
    await asyncio.sleep(0.05)
    waiting += [asyncio.create_task(fleet(context, now=True)) for _ in range(10)]
    assert context.reads == 1, "the last read was a moment ago"
    found = await asyncio.gather(*waiting)
    assert context.reads == 2
    assert all(one is context.caches.supply and one is not known for one in found)
    context.caches.forget_sessions()
    await fleet(context, now=True)
    assert context.reads == 3, "miners that have changed are read immediately"
