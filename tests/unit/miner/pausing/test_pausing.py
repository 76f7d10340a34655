"""A whole miner that is paused by its owner and by commands: leases, running jobs, reports and restarts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from agent.miner.control import CallRefused, ControlUnavailable, ask
from agent.miner.daemon import Daemon
from miner_support import daemons
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import make_daemon, running, settings_for, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]
LIMIT = 300


def ask_daemon(tmp_path: Path, call: str, **fields: Any) -> Any:
    return ask(tmp_path / "data", call, **fields)


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_a_paused_miner_accepts_no_leases_and_reports_it_until_it_is_resumed(
    coordinator: FakeCoordinator, tmp_path: Path, transport: str
) -> None:
    """A lease that was in transit when the pause began is handed back. Running jobs continue."""
    daemon = make_daemon(settings_for(tmp_path, slots=2, transport=transport), coordinator.url)
    async with running(daemon):
        first = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await until(lambda: daemon.status()["now"].get("working") == 1)
        answer = await ask_daemon(tmp_path, "pause", seconds=3600)
        assert (answer["running"], answer["handed_back"]) == (1, 0)
        assert answer["miner"]["words"].startswith("by hand until ")
        await coordinator.until(
            lambda: (coordinator.heartbeats[-1]["paused"] or "").startswith("by hand until")
        )
        shares = coordinator.heartbeats[-1]["activity"]["idle"]
        assert sum(use["share"] for use in shares) == pytest.approx(1)
        crossed = await coordinator.submit("echo")
        if transport == "poll":  # it had requested leases before the pause
            await coordinator.until(lambda: crossed in coordinator.releases)
            assert coordinator.releases[crossed]["reason"] == "paused"
            coordinator.queue.append({**coordinator.given[crossed, 1], "fence": 2})
        assert daemon.status()["now"] == {"working": 1, "paused by hand": 1}
        (tmp_path / "gate").touch()
        await coordinator.until(lambda: first in coordinator.results)
        assert daemon.status()["slots"]["free"] == 0
        assert crossed not in coordinator.results
        assert (await ask_daemon(tmp_path, "resume"))["miner"] is None
        await coordinator.until(lambda: crossed in coordinator.results)
        await coordinator.until(lambda: coordinator.heartbeats[-1]["paused"] is None)
    outcomes = [(job["job_id"], job["outcome"]) for job in daemon.status()["finished"]]
    assert outcomes == [(first, "completed"), (crossed, "completed")]


async def test_pausing_now_hands_back_running_leases(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """A job whose input is still being fetched is handed back even without --now: a pause lets no run start."""
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        job = await coordinator.submit("wait", gate=str(tmp_path / "gate"))
        await until(lambda: daemon.status()["now"].get("working") == 1)
        assert (await ask_daemon(tmp_path, "pause", now=True))["handed_back"] == 1
        await coordinator.until(lambda: job in coordinator.releases)
        assert coordinator.releases[job]["reason"] == "paused"
        assert daemon.status()["leases"] == []
        with pytest.raises(CallRefused, match="this machine has none"):
            await ask_daemon(tmp_path, "pause", gpu="0")


@pytest.mark.system
async def test_a_pause_survives_a_kill(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    """The next daemon accepts no leases from its start."""
    command = [sys.executable, daemons.__file__, str(tmp_path), coordinator.url]
    for paused in (False, True):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - not in the loop under test
        try:
            before = len(coordinator.heartbeats)
            await coordinator.until(lambda before=before: len(coordinator.heartbeats) > before, LIMIT)
            assert (coordinator.heartbeats[-1]["paused"] is not None) == paused
            if not paused:
                await ask_daemon(tmp_path, "pause")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT)
        await until(lambda: not coordinator.sockets)  # else the job is assigned to the killed daemon
        await coordinator.submit("echo")
    assert not coordinator.given
    with pytest.raises(ControlUnavailable):
        await ask_daemon(tmp_path, "status")


async def test_commands_are_executed_at_once_and_only_once(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """The coordinator requests a heartbeat for them. Commands that make no sense are settled without effect."""
    coordinator.heartbeat_seconds = 60
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        await until(lambda: daemon.status()["connection"] == "websocket")
        await execute(coordinator, daemon, "command_1", command="pause", gpu=None, seconds=3600)
        assert daemon.status()["paused"].startswith("by hand until")
        await execute(coordinator, daemon, "command_2", command="resume", gpu=None)
        assert daemon.status()["paused"] is None
        await execute(
            coordinator, daemon, "command_1", command="pause", gpu=None
        )  # again, as if the answer had been lost
        assert daemon.status()["paused"] is None
        senseless = [
            {"command": "pause", "gpu": "GPU-none"},
            {"command": "pause", "gpu": None, "seconds": -1},
            {"command": "pause", "gpu": ["0"]},
            {"command": "pause", "seconds": "long"},
            {"command": "dance"},
            {"command": "fetch_model", "model": "unknown-model"},
            {"command": "fetch_model"},
            {"command": "remove_model", "model": "../data"},
        ]
        for number, command in enumerate(senseless):
            await execute(coordinator, daemon, f"command_9{number}", **command)
        refused = {
            item["command_id"]: item["reasons"]
            for heartbeat in coordinator.heartbeats
            for item in heartbeat["refused"]
        }
        unknown = refused[f"command_9{senseless.index({'command': 'dance'})}"]
        assert unknown == [
            f"The miner's agent, version {__version__}, does not understand this command (Command: command). Update it."
        ]
        coordinator.commands = ["malformed", {"command": "dance"}, {"command_id": 3, "command": "pause"}]
        await coordinator.command(command_id="command_3", command="pause", gpu=None)
        await coordinator.until(lambda: "command_3" in coordinator.executed)
        assert daemon.status()["paused"] == "by hand"


async def execute(coordinator: FakeCoordinator, daemon: Daemon, command_id: str, **command: Any) -> None:
    """Send a command and wait until the miner reports it as executed."""
    before = coordinator.executed.count(command_id)
    await coordinator.command(command_id=command_id, **command)
    await coordinator.until(lambda: coordinator.executed.count(command_id) > before)


async def test_a_poll_can_request_a_heartbeat(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    coordinator.heartbeat_seconds = 60
    daemon = make_daemon(settings_for(tmp_path, transport="poll"), coordinator.url)
    async with running(daemon):
        await coordinator.until(lambda: coordinator.polls and coordinator.heartbeats)
        await execute(coordinator, daemon, "command_1", command="pause", gpu=None)
        assert daemon.status()["paused"] == "by hand"


async def test_todays_earnings_are_queried_with_the_owners_key(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    """With a coordinator that does not know the call, only the figure is missing."""
    async with running(make_daemon(settings_for(tmp_path / "other"), coordinator.url)) as _:
        await until(lambda: coordinator.heartbeats)
    coordinator.earnings = {"days": [{"date": "2026-11-25", "amount": "1.25", "jobs": 12}], "total": "1.25"}
    daemon = make_daemon(settings_for(tmp_path), coordinator.url)
    async with running(daemon):
        await until(lambda: daemon.status()["earned_today"])
        earned = daemon.status()["earned_today"]
    assert (earned["amount"], earned["jobs"]) == ("1.25", 12)
