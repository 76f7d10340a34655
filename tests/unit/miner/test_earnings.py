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
            # A coordinator of an earlier version, which does not know it.
            if path == "/v1/miners/miner_1/outlook":
                return 404, {"error": {"code": "NOT_FOUND"}}
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
        assert shown.outlook is None
        running.cancel()

    asyncio.run(follow())


def test_what_like_machines_earn_is_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earnings, "PAUSE_SECONDS", 0.0)
    per_hour = {"low": "0.1", "typical": "0.15", "high": "0.2"}
    outlook = {
        "miner_id": "miner_1", "hardware": "no GPU", "days": 7, "machines": 3, "online_hours": 400.0, "jobs": 210,
        "missing": None, "per_hour": per_hour, "per_day": per_hour, "services": [],
    }  # fmt: skip
    asked: list[str] = []

    class Link:
        async def read(self, path: str, api_key: str) -> tuple[int, Any]:
            assert api_key == "key"
            asked.append(path.rpartition("/")[2])
            return (200, outlook) if asked[-1] == "outlook" else (200, {"days": []})

    async def follow() -> None:
        session = SimpleNamespace(api_key="key", identity=SimpleNamespace(miner_id="miner_1"))
        shown = Earnings(cast("Any", Link()), cast("Any", session))
        running = asyncio.create_task(shown.run())
        async with asyncio.timeout(60):
            while asked.count("earnings?days=2") < 3:
                shown.changed()
                await asyncio.sleep(0)
        assert shown.outlook is not None
        assert shown.outlook.model_dump()["per_hour"] == per_hour
        # It changes slowly, so it is not asked for after each result.
        assert asked.count("outlook") == 1
        running.cancel()

    asyncio.run(follow())
