"""A miner's start and end: enrolment, stops, kills, and what the next daemon finds. With real processes."""

# ruff: noqa: ASYNC220 - processes have no events to wait on, and are started outside the loop under test

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from agent.core.errors import ConfigurationError
from agent.miner.control import ask
from agent.miner.link.refusals import RegistrationRefused, SessionSuperseded
from miner_support import daemons
from miner_support.coordinator import FakeCoordinator, refusal
from miner_support.daemons import make_daemon, no_remaining_children, running, settings_for, until
from runners.sandbox import mark

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_another_agent_with_the_same_key_ends_this_one(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    daemon = make_daemon(settings_for(tmp_path, transport=transport), coordinator.url)
    async with running(daemon) as task:
        await coordinator.until(lambda: coordinator.heartbeats)
        coordinator.session += 1
        with pytest.raises(SessionSuperseded, match="Another agent"):
            await asyncio.wait_for(asyncio.shield(task), 10)


async def test_stop_waits_for_running_jobs(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with no_remaining_children(), running(daemon) as task:
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        assert await ask(tmp_path / "data", "stop", drain=True) == {"stopping": True, "running": 1}
        late = await coordinator.submit("echo")
        await coordinator.until(lambda: coordinator.heartbeats)
        (tmp_path / "gate").touch()
        await asyncio.wait_for(task, 60)
    assert job_id in coordinator.results
    assert late not in coordinator.results


@pytest.mark.parametrize("impatience", ["time", "second call"])
async def test_stop_hands_back_unfinished_jobs(
    coordinator: FakeCoordinator, tmp_path: Path, impatience: str
) -> None:
    drain_seconds = 0.2 if impatience == "time" else 60
    daemon = make_daemon(settings_for(tmp_path, drain_seconds=drain_seconds), coordinator.url)
    async with running(daemon) as task:
        job_id = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await coordinator.until(lambda: coordinator.open)
        daemon.request_stop()
        if impatience == "second call":
            daemon.request_stop()
        await asyncio.wait_for(task, 60)
    assert coordinator.releases == {job_id: {"fence": 1, "reason": "shutdown"}}
    assert not list((tmp_path / "data/miner/jobs").iterdir())


async def test_two_daemons_never_share_a_data_directory(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with running(make_daemon(settings, coordinator.url)):
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
            await make_daemon(settings, coordinator.url).start()
    async with running(make_daemon(settings, coordinator.url)):
        pass


async def test_a_refused_enrolment_is_explained(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    coordinator.enrolment = "enrol_right"
    with pytest.raises(RegistrationRefused, match="An enrolment token is needed"):
        await make_daemon(settings_for(tmp_path), coordinator.url).start()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url, "enrol_right")
    async with running(daemon):
        assert daemon.api_key == "aitbc_miner_key"
    async with running(daemon := make_daemon(settings_for(tmp_path), coordinator.url, "enrol_right")):
        assert daemon.api_key == "aitbc_miner_key", "the coordinator sends it only once"


async def test_start_waits_for_a_coordinator_that_is_not_up_yet(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    await coordinator.stop()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    starting = asyncio.create_task(daemon.start())
    await until(lambda: daemon.miner_id)
    await coordinator.start()
    await asyncio.wait_for(starting, 60)
    daemon.request_stop()
    await asyncio.wait_for(daemon.run(), 60)


async def test_stop_works_while_the_coordinator_is_down(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    await coordinator.stop()
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    starting = asyncio.create_task(daemon.start())
    await until(lambda: daemon.miner_id)
    daemon.request_stop()
    await asyncio.wait_for(starting, 60)
    await asyncio.wait_for(daemon.run(), 60)


@pytest.mark.chaos
async def test_finished_work_survives_kill_9(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """The daemon is killed between outbox and acknowledgement. The next one delivers the result under the same lease."""
    coordinator.result_answers.extend([refusal(503, "SERVICE_UNAVAILABLE")] * 1000)
    process = subprocess.Popen([sys.executable, daemons.__file__, str(tmp_path), coordinator.url])
    try:
        job_id = await coordinator.submit("file", text="saved")
        await coordinator.until(lambda: coordinator.result_calls)
        children = psutil.Process(process.pid).children()
        assert children
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=300)
    assert not alive, "children end with their daemon"
    coordinator.result_answers.clear()
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        await coordinator.until(lambda: job_id in coordinator.results)
    assert {"job_id": job_id, "fence": 1} in coordinator.registrations[-1]["holding"]
    assert not list((tmp_path / "data/miner/jobs").iterdir())


@pytest.mark.chaos
async def test_restart_ends_orphans_and_removes_leftovers(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    directory = tmp_path / "data/miner"
    (directory / "jobs/job_old_1/work").mkdir(parents=True)
    orphan, stranger = (
        subprocess.Popen(["sleep", "60"], start_new_session=True, env={mark.VARIABLE: mark.make(of)})
        for of in (directory, tmp_path / "other/miner")
    )
    try:
        async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
            assert orphan.wait(60) == -signal.SIGKILL
            assert stranger.poll() is None, "another miner's process is not ended"
            assert not list((directory / "jobs").iterdir())
    finally:
        for process in (orphan, stranger):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.mark.chaos
async def test_processes_that_a_killed_runner_was_starting_end_with_it(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """Bubblewrap asks the kernel to end it with its parent only some time after its start, and would survive before that."""
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        await coordinator.submit("wait", gate=str(tmp_path / "never"))
        await until(lambda: any(child["busy"] and child["pid"] for child in daemon.status()["children"]))
        (runner,) = (child["pid"] for child in daemon.status()["children"] if child["busy"])
        environment = {mark.VARIABLE: psutil.Process(runner).environ()[mark.VARIABLE]}
        started = subprocess.Popen(["sleep", "60"], start_new_session=True, env=environment)
        try:
            os.kill(runner, signal.SIGKILL)
            assert await asyncio.to_thread(started.wait, 10) == -signal.SIGKILL
        finally:
            started.kill()
            started.wait()
