"""The owner's limits of the network."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.configuring.reading import load_settings
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.inputs import fetch
from agent.miner.settings import InputSettings, MinerSettings, NetworkSettings
from agent.miner.traffic import STEP, Traffic
from agent.sections import section_of

MONDAY_NOON = datetime(2026, 11, 30, 12).timestamp()  # noqa: DTZ001 - local time
KIB = 2**10


def limits(**network: Any) -> NetworkSettings:
    return NetworkSettings.model_validate(network)


def seconds_for(traffic: Traffic, *sizes: int, sent: bool = False) -> float:
    """Return how long these pieces take, which pass at the same time."""

    async def passing() -> None:
        await asyncio.gather(*(traffic.sent(size) if sent else traffic.received(size) for size in sizes))

    began = time.monotonic()
    asyncio.run(passing())
    return time.monotonic() - began


def test_all_transfers_of_a_direction_share_its_rate_at_its_time_of_the_week() -> None:
    now = [MONDAY_NOON]
    settings = limits(
        download_rate="1Mi", download_rates={"Mon 18:00-23:00": "128Ki"}, upload_rates={"18:00-23:00": "1Gi"}
    )
    traffic = Traffic(settings, clock=lambda: now[0])
    assert seconds_for(traffic, 100 * KIB, 100 * KIB) >= 200 / 1024
    now[0] += 7 * 3600
    assert seconds_for(traffic, 64 * KIB, 64 * KIB) >= 1
    assert seconds_for(traffic, *[STEP] * 64, sent=True) < 1 + 64 * STEP / 2**30


def test_a_months_data_is_counted_over_restarts_and_ends_with_the_month(tmp_path: Path) -> None:
    now, file = [MONDAY_NOON], tmp_path / "traffic.json"

    def traffic() -> Traffic:
        return Traffic(limits(monthly_data="300Ki"), file, clock=lambda: now[0], is_metered=lambda: False)

    async def worked(traffic: Traffic) -> None:
        running = asyncio.create_task(traffic.run())
        await asyncio.sleep(0)
        await traffic.received(100 * KIB)
        await traffic.sent(60 * KIB)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(worked(traffic()))
    assert traffic().exhausted_until() is None
    asyncio.run(worked(traffic()))
    used_up = traffic()
    assert used_up.exhausted_until() == datetime(2026, 12, 1).timestamp()  # noqa: DTZ001 - local time
    assert used_up.hindrance is not None
    now[0] += 86400
    assert (used_up.exhausted_until(), used_up.hindrance, used_up.of_month()) == (None, None, 0)
    assert used_up.status()["months"] == [{"month": "2026-11", "received": 200 * KIB, "sent": 120 * KIB}]


def test_a_used_up_month_pauses_the_machine_until_the_next_one(tmp_path: Path) -> None:
    settings = load_settings(flags={"data_dir": tmp_path})

    class NoGpus:
        last = ()

    pauses = Pauses(
        tmp_path / "pauses.json", section_of(settings, MinerSettings), NoGpus(),  # type: ignore[arg-type]
        working=set, clock=lambda: MONDAY_NOON, data_used_until=lambda: MONDAY_NOON + 12 * 3600,
    )  # fmt: skip
    assert pauses.reason() == "for the data limit until Tue 01 Dec 00:00"


def test_a_metered_connection_holds_downloads_up_unless_the_owner_allows_them() -> None:
    for allowed, hindered in ((False, True), (True, False)):
        traffic = Traffic(limits(metered_downloads=allowed), is_metered=lambda: True)
        asyncio.run(traffic.poll())
        assert (traffic.hindrance is not None) is hindered


def test_inputs_of_jobs_count(tmp_path: Path) -> None:
    traffic = Traffic(limits())

    def no_artifacts(_: str) -> Any:
        raise AssertionError

    asyncio.run(
        fetch(
            {"inline": "abc"},
            tmp_path / "file",
            artifacts=no_artifacts,
            limits=InputSettings(),
            traffic=traffic,
        )
    )
    assert traffic.of_month() == 3
