"""Cost limits, failures and times of runs, with real child processes."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from pathlib import Path

import pytest

from agent.core.values.quantities import parse_time
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import make_daemon, running, settings_for

# ruff: noqa: ASYNC110 - no event reports that a run was dropped

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]


async def test_a_run_ends_when_its_price_reaches_max_cost(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """One letter costs 0.01, and the run would never end. The message states a sufficient max_cost."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("wait", max_cost="0.2", gate=str(tmp_path / "never"))
        await coordinator.until(lambda: job_id in coordinator.failures)
    failure = coordinator.failures[job_id]
    assert (failure["kind"], failure["code"]) == ("fail", "COST_LIMIT_REACHED")
    assert 20 < Decimal(failure["units"]) < 80
    assert "max_cost of 0.2 credits at 50 % progress; a max_cost of about 0." in failure["message"]


async def test_a_failure_contains_the_units_up_to_its_end(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Including units that were reported too soon after others to be sent at once."""
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        failed = await coordinator.submit("meter_and_fail")
        timed_out = await coordinator.submit("wait", timeout=1, gate=str(tmp_path / "never"))
        await coordinator.until(lambda: {failed, timed_out} <= coordinator.failures.keys())
    assert (coordinator.failures[failed]["code"], coordinator.failures[failed]["units"]) == (
        "TEXT_WRONG",
        "7",
    )
    assert coordinator.failures[timed_out]["code"] == "DEADLINE_EXCEEDED"
    assert Decimal(coordinator.failures[timed_out]["units"]) > 0


@pytest.mark.parametrize("ahead", [-(10.0**9), 10.0**9])
async def test_a_wrong_clock_costs_no_work(
    coordinator: FakeCoordinator, tmp_path: Path, ahead: float
) -> None:
    """The times in the statement are relative to the lease's arrival, however much the two machines' clocks differ."""
    coordinator.clock_ahead = ahead
    gate = tmp_path / "gate"
    gate.touch()
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("wait", gate=str(gate))
        await coordinator.until(lambda: job_id in coordinator.results)
    statement, lease = coordinator.statements[job_id], coordinator.given[job_id, 1]
    assigned, now = parse_time(lease["assigned_at"]), time.time() + ahead
    assert assigned <= parse_time(statement.started_at) <= parse_time(statement.finished_at) <= now


async def test_running_out_of_memory_is_no_machine_fault(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """However often it happens: a pause would affect every other client."""
    daemon = make_daemon(settings_for(tmp_path, slots=1), coordinator.url)
    async with running(daemon):
        for _ in range(4):
            job_id = await coordinator.submit("too_large")
            await coordinator.until(lambda job_id=job_id: job_id in coordinator.failures)
            assert coordinator.failures[job_id]["code"] == "OUT_OF_MEMORY"
        done = await coordinator.submit("echo")
        await coordinator.until(lambda: done in coordinator.results, limit=10)


async def test_an_excluded_miner_drops_its_runs_and_registers_again_rarely(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        await coordinator.submit("wait", gate=str(tmp_path / "never"))
        await coordinator.until(lambda: coordinator.open)
        coordinator.excluded = True
        await coordinator.until(lambda: coordinator.refused_registrations)
        async with asyncio.timeout(60):
            while daemon.status()["leases"]:
                await asyncio.sleep(0.01)
        beats = len(coordinator.heartbeats)
        with pytest.raises(TimeoutError):
            await coordinator.until(lambda: coordinator.refused_registrations > 1, limit=2)
        assert len(coordinator.heartbeats) == beats
