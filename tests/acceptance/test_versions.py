"""Miners and coordinators of this version and of 0.1.0, as real programs: neither works with the other, and both say so."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from agent import __version__
from agent.cli import agent_file
from miner_support.daemons import make_daemon, settings_for, until
from support.agents import COMMAND, Agent, environment_of_programs, running
from support.machines import old_version
from support.server import serve
from support.servers.ports import reserved_port

pytestmark = [pytest.mark.ship, pytest.mark.acceptance, pytest.mark.sqlite]

START_SECONDS = 180


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the old version's command."""
    return old_version.extract(tmp_path_factory.mktemp("old"))


def test_an_old_miner_is_refused_with_a_reason_that_it_shows(tmp_path: Path, old: dict[str, str]) -> None:
    with serve(tmp_path / "coordinator", open_enrolment=True) as served:
        ended = subprocess.run(
            [COMMAND, "start", "--data-dir", tmp_path / "miner", "--coordinator", served.url],
            env={**environment_of_programs(), **old},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    assert ended.returncode != 0
    assert "does not take this miner (409)" in ended.stderr
    assert "Update the miner's agent to version" in ended.stderr
    assert all(version in ended.stderr for version in (old_version.VERSION, __version__))


@pytest.mark.anyio
async def test_a_miner_waits_for_the_update_of_an_old_coordinator(
    tmp_path: Path, old: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens no session there, says why, and joins without a restart when the coordinator has been updated."""
    monkeypatch.setattr("agent.miner.link.client._INCOMPATIBLE_SECONDS", 0.5)
    options = {"AITBC_COORDINATOR__OPEN_ENROLMENT": "true"}
    settings = settings_for(tmp_path / "miner")
    with (
        reserved_port() as port,
        running(
            coordinator := Agent(
                tmp_path / "coordinator", "coordinator", "--port", str(port), **old, **options
            )
        ),
        agent_file.exclusive(settings),
    ):
        daemon = make_daemon(settings, coordinator.url)
        starting = asyncio.create_task(daemon.start())
        try:
            await until(lambda: daemon.prepared and daemon.status()["refusal"], START_SECONDS)
            shown = await asyncio.to_thread(status, settings.data_dir)
            assert f"The miner's version, {__version__}, does not work with the coordinator's, 0.1.0" in shown
            overview = await asyncio.to_thread(coordinator.cli, "status", "--json")
            assert json.loads(overview.stdout)["coordinator"]["miners"] == []
            await asyncio.to_thread(coordinator.stop)
            updated = Agent(coordinator.data_dir, "coordinator", "--port", str(port), **options)
            with running(updated):
                async with asyncio.timeout(START_SECONDS):
                    await starting
                assert daemon.status()["refusal"] is None
        finally:
            daemon.request_stop(drain=False)
            await asyncio.wait([starting])
            if starting.exception() is None:
                await daemon.run()


def status(data_dir: Path) -> str:
    """What `aitbc-agent status` prints, on one line."""
    command = [COMMAND, "status", "--data-dir", data_dir]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=True)
    return " ".join(printed.stdout.split())
