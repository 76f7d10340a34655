"""How the miner ends its tasks."""

from __future__ import annotations

import asyncio

import pytest

from agent.miner import tasks

pytestmark = pytest.mark.anyio


async def test_a_task_that_loses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library does that waits for something else at the same moment. An error of another task does not matter."""
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)
    lost = 0

    async def lose_one() -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
        await asyncio.Event().wait()

    async def fail() -> None:
        raise ValueError

    running = [asyncio.create_task(lose_one()), asyncio.create_task(fail())]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await tasks.end(running)
    assert lost == 1
    assert all(task.done() for task in running)
