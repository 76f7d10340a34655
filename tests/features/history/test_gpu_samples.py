"""The last day of machines' GPUs: sampled with heartbeats, deleted after a day, and shown to owners and administrators only."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import pytest

from agent.coordinator.features.history import gpus
from agent.coordinator.features.history.tables import gpu_samples
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners.heartbeats import heartbeat
from agent.coordinator.store.database import Connection
from agent.core.values.quantities import format_time
from agent.protocol.messages import Heartbeat
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

INTERVAL = 300
DAY = 86_400
CARDS = [
    {"uuid": "GPU-1", "memory_free": 2**30, "utilization": 97, "temperature": 71, "power": 310.5, "power_limit": 450},
    {"uuid": "GPU-2"},
]  # fmt: skip


@pytest.fixture(autouse=True, params=["sqlite", "postgresql"])
def _engine(request: pytest.FixtureRequest) -> None:
    """Run each test on both databases."""
    if request.param == "postgresql":
        request.getfixturevalue("on_postgresql")


def beat_at(served: Served, miner: ScriptedMiner, time: float, utilization: float) -> None:
    """Send a heartbeat at this time."""
    cards = [{**CARDS[0], "utilization": utilization}, *CARDS[1:]]
    session = Session(miner.miner_id, miner.registration["session"], bytes(miner.key.verify_key), {}, {})

    async def send(context: Context) -> None:
        await heartbeat(
            dataclasses.replace(context, clock=lambda: time),
            session,
            Heartbeat.model_validate({"gpus": cards}),
        )

    served.do(send)


def samples(caller: httpx.Client, miner: ScriptedMiner) -> list[dict[str, Any]]:
    answer = caller.get(f"/v1/miners/{miner.miner_id}/gpu-history").raise_for_status().json()
    assert (answer["miner_id"], answer["interval_seconds"]) == (miner.miner_id, INTERVAL)
    shown: list[dict[str, Any]] = answer["samples"]
    return shown


def stored(connection: Connection) -> list[int]:
    return [row.start for row in connection.execute(gpu_samples.select().order_by(gpu_samples.c.start))]


def test_gpus_are_sampled_every_five_minutes_for_a_day(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    now = served.context.clock()
    first = int(now) // INTERVAL * INTERVAL - 4 * INTERVAL
    yesterday = first - DAY
    for time, load in (
        (yesterday, 1),
        (first + 10, 2),
        (first + 290, 3),
        (first + 310, 4),
        (first + 3 * INTERVAL, 5),
    ):
        beat_at(served, miner, time, load)
    owner = httpx.Client(
        base_url=served.url, headers={"X-API-Key": miner.registration["api_key"]}, timeout=120
    )
    with owner:
        shown = samples(owner, miner)
    # The interval without a heartbeat has no sample, and yesterday's is not shown.
    assert [(sample["time"], sample["gpus"][0]["utilization"]) for sample in shown] == [
        (format_time(first), 2),
        (format_time(first + INTERVAL), 4),
        (format_time(first + 3 * INTERVAL), 5),
    ]
    assert shown[0]["gpus"] == [
        {"uuid": "GPU-1", "utilization": 2, "memory_free": 2**30, "temperature": 71, "power": 310.5},
        {"uuid": "GPU-2", "utilization": None, "memory_free": None, "temperature": None, "power": None},
    ]
    assert samples(admin, miner) == shown

    async def starts(context: Context) -> list[int]:
        return await context.database.read(stored)

    assert served.do(starts)[0] == yesterday // INTERVAL * INTERVAL
    served.do(gpus.delete_old)
    assert served.do(starts) == [first, first + INTERVAL, first + 3 * INTERVAL]


def test_another_owner_and_clients_do_not_see_them(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    other = ScriptedMiner(served.url)
    other.register()
    path = f"/v1/miners/{miner.miner_id}/gpu-history"
    headers = {"X-API-Key": other.registration["api_key"]}
    assert httpx.get(served.url + path, headers=headers).status_code == 404
    assert client.get(path).status_code == 403
    assert httpx.get(served.url + path).status_code == 401


def test_a_transaction_that_is_run_again_does_not_lose_the_sample(
    served: Served, miner: ScriptedMiner
) -> None:
    report = MinerReport(miner.miner_id, heartbeat=Heartbeat.model_validate({"gpus": CARDS}))

    def fail(connection: Connection) -> None:
        gpus.miner_reported(connection, served.context, report)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        served.do(lambda context: context.database.write(fail))
    assert served.do(lambda context: context.database.read(stored)) == []
    served.do(lambda context: context.database.write(gpus.miner_reported, context, report))
    assert len(served.do(lambda context: context.database.read(stored))) == 1
