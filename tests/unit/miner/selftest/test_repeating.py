"""Self-tests while the miner runs: beside no job, at intervals, and as part of what the miner announces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.cli.commands.machine import selftest as command
from agent.core.errors import AgentError
from agent.miner.control import CallRefused, ask
from agent.miner.daemon import Daemon
from agent.miner.machine.selftest_report import Check, SelftestReport, latest, save
from agent.miner.selftest import repeating
from agent.miner.selftest.selftest import Selftest
from agent.settings import Settings
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import HOST, running, settings_for
from miner_support.runner import ScriptedRunner
from miner_support.timed_runners import PROGRAM, RUNNERS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]

FAULT = Check(
    name="memory",
    outcome="fault",
    message="The memory is damaged.",
    card="GPU-1",
    figures={"memory_wrong": 3},
)


def report(began_at: float, *checks: Check) -> SelftestReport:
    return SelftestReport(
        began_at=began_at, seconds=60, agent_version="0.2.0", cards={"GPU-1": "GPU 0 (Card)"}, checks=checks
    )


class Machine:
    """What is tested. A test ends when it may, and finds these `checks`."""

    def __init__(self, *checks: Check) -> None:
        self.checks = checks
        self.tests: list[tuple[float, tuple[str, ...]]] = []
        self.may_end = asyncio.Event()
        self.cancelled = False

    async def run(
        self, settings: Settings, minutes: float, chosen: Collection[str], on_step: Callable[[str], None]
    ) -> SelftestReport:
        self.tests.append((minutes, tuple(chosen)))
        on_step("Testing the memory")
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        tested = report(time.time(), *self.checks)
        save(settings.data_dir / "miner", tested)
        return tested

    def daemon(self, directory: Path, url: str, **selftest: Any) -> Daemon:
        settings = settings_for(directory, selftest={"interval_days": 0, **selftest})
        return Daemon(
            settings, url, runners={"scripted": ScriptedRunner}, host_command=HOST, run_selftest=self.run
        )


def announced(coordinator: FakeCoordinator) -> Any:
    """What the miner has announced last about its self-test."""
    messages = [*coordinator.registrations, *coordinator.heartbeats]
    capabilities = [message["capabilities"] for message in messages if message.get("capabilities")]
    return capabilities[-1]["selftest"]


async def state(data_dir: Path, wanted: str) -> dict[str, Any]:
    """Wait for a state of the self-test."""
    async with asyncio.timeout(120):
        while (now := await ask(data_dir, "selftest_state"))["state"] != wanted:  # noqa: ASYNC110 - the state of another part
            await asyncio.sleep(0.05)
    return now


async def test_a_test_waits_for_running_jobs_and_no_other_begins(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    machine, data_dir, gate = Machine(FAULT), tmp_path / "data", tmp_path / "gate"
    async with running(machine.daemon(tmp_path, coordinator.url)):
        first = await coordinator.submit("wait", gate=str(gate))
        await coordinator.until(lambda: coordinator.open)
        await ask(data_dir, "selftest", minutes=5, cards=["GPU-1"])
        assert (await state(data_dir, "waiting"))["running"] == 1
        second = await coordinator.submit("echo")
        assert (machine.tests, (await ask(data_dir, "status"))["paused"]) == ([], "for a self-test")
        gate.touch()
        assert (await state(data_dir, "testing"))["step"] == "Testing the memory"
        assert machine.tests == [(5, ("GPU-1",))]
        with pytest.raises(CallRefused, match="in progress"):
            await ask(data_dir, "selftest", minutes=1)
        assert first in coordinator.results
        assert second not in coordinator.given
        machine.may_end.set()
        await state(data_dir, "idle")
        await coordinator.until(lambda: second in coordinator.results)
        await coordinator.until(lambda: announced(coordinator))
        status = await ask(data_dir, "status")
    assert (status["paused"], status["selftest"]["verdict"]) == (None, "failed")
    wire = announced(coordinator)
    assert wire["verdict"] == "failed"
    assert wire["problems"] == ["GPU 0 (Card): The memory is damaged."]
    assert wire["cards"] == [{"uuid": "GPU-1", "figures": {"memory_wrong": 3}}]


async def test_an_idle_miner_repeats_the_test_when_the_last_one_is_old(
    coordinator: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next miner of the same directory knows the result, and does not test again."""
    monkeypatch.setattr(repeating, "POLL_SECONDS", 0.05)
    machine, directory = Machine(), tmp_path / "data" / "miner"
    machine.may_end.set()
    directory.mkdir(parents=True, mode=0o700)
    save(directory, report(time.time() - 8 * 86_400, FAULT))
    options = {"interval_days": 7, "idle_minutes": 0, "minutes": 0.5}
    async with running(machine.daemon(tmp_path, coordinator.url, **options)):
        assert coordinator.registrations[0]["capabilities"]["selftest"]["verdict"] == "failed"
        await coordinator.until(lambda: announced(coordinator)["verdict"] == "passed")
    assert machine.tests == [(0.5, ())]
    async with running(machine.daemon(tmp_path, coordinator.url, **options)):
        job = await coordinator.submit("echo")
        await coordinator.until(lambda: job in coordinator.results)
        assert (await ask(tmp_path / "data", "selftest_state"))["ended"] == 0
    assert coordinator.registrations[1]["capabilities"]["selftest"]["verdict"] == "passed"
    assert len(machine.tests) == 1


async def test_a_busy_miner_and_one_without_an_interval_do_not_test(
    coordinator: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "POLL_SECONDS", 0.01)
    machine, gate = Machine(), tmp_path / "gate"
    for options in ({"interval_days": 0, "idle_minutes": 0}, {"interval_days": 7, "idle_minutes": 60}):
        async with running(machine.daemon(tmp_path, coordinator.url, **options)):
            job = await coordinator.submit("wait", gate=str(gate))
            gate.touch()
            await coordinator.until(lambda job=job: job in coordinator.results)
    assert machine.tests == []


async def test_a_test_can_be_stopped_and_ends_with_the_miner(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    machine, data_dir = Machine(), tmp_path / "data"
    async with running(machine.daemon(tmp_path, coordinator.url)):
        await ask(data_dir, "selftest", minutes=1)
        await state(data_dir, "testing")
        await ask(data_dir, "selftest_stop")
        assert (await state(data_dir, "idle"))["failure"] == "It was stopped."
        assert (machine.cancelled, (await ask(data_dir, "status"))["paused"]) == (True, None)
        machine.cancelled = False
        await ask(data_dir, "selftest", minutes=1)
        await state(data_dir, "testing")
    assert machine.cancelled
    assert latest(data_dir / "miner") is None


@pytest.mark.ship
async def test_the_command_has_the_running_agent_test(
    coordinator: FakeCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real test of this machine, in the process of the miner."""

    async def run(
        settings: Settings, minutes: float, chosen: Collection[str], on_step: Callable[[str], None]
    ) -> SelftestReport:
        test = partial(Selftest, runners={"sleeping": RUNNERS["sleeping"]}, host_command=PROGRAM)
        return await test(settings, minutes=minutes, chosen=chosen, on_step=on_step).run()

    settings = settings_for(tmp_path, selftest={"interval_days": 0})
    daemon = Daemon(
        settings, coordinator.url, runners={"scripted": ScriptedRunner}, host_command=HOST, run_selftest=run
    )
    steps: list[str] = []
    monkeypatch.setattr(command.logs, "step", steps.append)
    async with running(daemon):
        tested = await command._by_agent(settings, 0.01, [])
        with pytest.raises(AgentError, match="There is no card '7'; this machine has none"):
            await command._by_agent(settings, 0.01, ["7"])
        job = await coordinator.submit("echo")
        await coordinator.until(lambda: job in coordinator.results)
    outcomes = {check.name: check.outcome for check in tested.checks}
    assert (outcomes["memory"], outcomes["load"], outcomes["sleeping"]) == ("ok", "ok", "ok")
    assert "Testing the main memory" in steps[0]
