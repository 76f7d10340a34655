"""What a machine like this earns: from paid jobs and hours online of like machines only."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.outlook import store
from agent.coordinator.features.outlook.estimate import (
    OnlineDay,
    PaidWork,
    estimate,
    hardware_of,
)
from agent.coordinator.features.outlook.outlook import sample
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served, serve

HOUR = 3600


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", open_enrolment=True, outlook_jobs=2, outlook_hours=2) as served:
        yield served


def outlook(served: Served, miner: ScriptedMiner) -> dict[str, Any]:
    answer = httpx.get(
        f"{served.url}/v1/miners/{miner.miner_id}/outlook",
        headers={"X-API-Key": miner.registration["api_key"]},
    )
    answer.raise_for_status()
    shown: dict[str, Any] = answer.json()
    return shown


def be_online(served: Served, seconds: float) -> None:
    """Count this time for the machines that are online."""

    async def count(context: Any) -> None:
        await context.database.write(store.add_online, context.clock(), seconds, context.clock() - 60)

    served.do(count)


def test_an_hour_earns_what_paid_jobs_earned_for_each_hour_online(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Too few jobs or hours give no estimate, and the reason."""
    submit(client)
    miner.complete(miner.poll()[0], {"text": "hello", "units": 100}).raise_for_status()
    be_online(served, 4 * HOUR)
    first = outlook(served, miner)
    assert (first["per_hour"], first["per_day"]) == (None, None)
    assert "like machines completed 1 paid jobs in 4 hours online" in first["missing"]
    submit(client)
    miner.complete(miner.poll()[0], {"text": "hello", "units": 300}).raise_for_status()
    earned = Decimal(
        httpx.get(f"{served.url}/v1/wallet", headers={"X-API-Key": miner.registration["api_key"]}).json()[
            "balance"
        ]
    )
    shown = outlook(served, miner)
    card = capabilities()["gpus"][0]["name"]
    assert shown["missing"] is None
    assert (shown["hardware"], shown["machines"], shown["jobs"], shown["online_hours"]) == (
        card,
        1,
        2,
        4.0,
    )
    assert Decimal(shown["per_hour"]["typical"]) == earned / 4 > 0
    assert Decimal(shown["per_day"]["typical"]) == earned / 4 * 24
    assert shown["services"] == [
        {"service_id": "whisper_transcription", "jobs": 2, "per_hour": shown["per_hour"]["typical"]}
    ]
    # Hours without jobs count too.
    be_online(served, 4 * HOUR)
    assert Decimal(outlook(served, miner)["per_hour"]["typical"]) == earned / 8


def test_only_machines_that_accept_jobs_are_online(served: Served, miner: ScriptedMiner) -> None:
    served.do(sample)
    assert outlook(served, miner)["online_hours"] > 0
    before = outlook(served, miner)["online_hours"]
    miner.http.post("/heartbeat", json={"leases": [], "paused": "by hand"}).raise_for_status()
    be_online(served, HOUR)
    assert outlook(served, miner)["online_hours"] == before


def test_it_is_for_the_machines_owner(served: Served, client: httpx.Client, miner: ScriptedMiner) -> None:
    assert client.get(f"/v1/miners/{miner.miner_id}/outlook").status_code == 403


def test_the_range_is_the_middle_half_of_days_and_includes_the_average() -> None:
    """An hour counts as long as it was; days of which no time online is known do not count."""
    online = [OnlineDay("m", day, 10 * HOUR) for day in range(1, 9)]
    work = [PaidWork("m", day, "llm_inference", 1, 1000 * day) for day in range(1, 9)]
    work.append(PaidWork("m", 99, "llm_inference", 1, 10**9))
    basis = estimate(online, work)
    assert basis.range is not None
    assert (basis.range.low, basis.range.typical, basis.range.high) == (275, 450, 625)
    assert (basis.jobs, basis.by_service) == (8, {"llm_inference": (8, 36_000)})
    few = estimate(online[:2], work[:2])
    assert few.range is not None
    assert (few.range.low, few.range.high) == (100, 200)
    # One good day earns most of it.
    rare = estimate(online, [PaidWork("m", 1, "llm_inference", 1, 80_000)]).range
    assert rare is not None
    assert (rare.low, rare.typical, rare.high) == (0, 1000, 1000)


def test_like_machines_have_the_same_cards() -> None:
    card = {"name": "NVIDIA GeForce RTX 4090"}
    assert hardware_of({"gpus": []}) == "no GPU"
    assert hardware_of({"gpus": [card, card, {"name": "A"}]}) == "A, 2 x NVIDIA GeForce RTX 4090"
