"""The earnings that an owner sees follow each acknowledged result."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.miner.status import earnings
from agent.miner.status.earnings import Earnings


def test_an_acknowledged_result_is_shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next query by the clock would be a minute later."""
    monkeypatch.setattr(earnings, "PAUSE_SECONDS", 0.0)

    class Link:
        def __init__(self) -> None:
            self.jobs = 0
            self.read_again = asyncio.Event()

        async def read(self, path: str, api_key: str) -> tuple[int, Any]:
            assert (path, api_key) == ("/v1/miners/miner_1/earnings?days=2", "key")
            self.jobs += 1
            self.read_again.set()
            return 200, {"days": [{"date": "2026-11-27", "amount": str(self.jobs), "jobs": self.jobs}]}

    async def follow() -> None:
        link = Link()
        session = SimpleNamespace(api_key="key", identity=SimpleNamespace(miner_id="miner_1"))
        shown = Earnings(cast("Any", link), cast("Any", session))
        running = asyncio.create_task(shown.run())
        await asyncio.wait_for(link.read_again.wait(), 60)
        link.read_again.clear()
        shown.changed()
        await asyncio.wait_for(link.read_again.wait(), 60)
        await asyncio.sleep(0)
        assert shown.today is not None
        assert shown.today.jobs == 2
        running.cancel()

    asyncio.run(follow())
