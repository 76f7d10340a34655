"""A machine whose GPU driver is loaded after the agent has started.

NVML is a stand-in (no machine that runs these tests has a GPU); the agent, its children, and the decisions are real.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.miner.control import ControlUnavailable, ask
from miner_support.cards import Cards, add_models, install
from nvml_shim.shim import DRIVER_NOT_LOADED, TWO_CARDS, VERSION_MISMATCH, NvmlShim, build
from support.agents import Agent, running, wait_for_progress
from support.machines.two_cards import working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

WAIT_SECONDS = 180


def test_new_gpus_are_used_without_a_restart_after_running_jobs_have_finished(tmp_path: Path) -> None:
    """One job runs on the processor while the driver is loaded. It finishes, and the next two jobs use the two cards."""
    shim = NvmlShim(build(tmp_path / "nvml"), tmp_path / "cards", TWO_CARDS, init=DRIVER_NOT_LOADED)
    (tmp_path / "claims").mkdir()
    cards = Cards(shim, tmp_path / "claims")
    add_models(tmp_path / "models", tmp_path / "data/models.toml", small=6, other=9)
    environment = {
        **install(tmp_path / "packages"),
        "LD_LIBRARY_PATH": str(shim.library),
        "NVML_SHIM_FILE": str(shim.file),
        "SCRIPTED_CLAIMS": str(tmp_path / "claims"),
        "AITBC_MODELS_DIR": str(tmp_path / "models"),
        "AITBC_MINER__GPU_POLL_SECONDS": "0.2",
    }
    agent = Agent(tmp_path / "data", "start", "--port", "0", **environment)
    with cards.counting(), running(agent):
        client, process = agent.client(), agent.file["pid"]

        def submit(model: str, gate: str) -> str:
            body = {"mode": "wait", "model": model, "gate": str(tmp_path / gate)}
            return str(client.services.call("cards/run", body).job_id)

        miner = _miner(agent)
        assert (miner["gpus"], miner["slots"]["total"]) == ([], 1)
        assert "modprobe nvidia" in miner["gpu_reason"]
        first = submit("small", "first")
        wait_for_progress(agent.url, agent.file["client_key"], first, least=0)
        shim.init = 0
        shim.write()
        _until(lambda: "gpus_appeared" in agent.log.read_text())
        waiting = submit("small", "second"), submit("other", "second")
        assert client.jobs.get(first).status == "running"
        (tmp_path / "first").touch()
        assert client.jobs.wait(first, WAIT_SECONDS).status == "completed"
        _until(lambda: len(_busy(agent)) == 2)
        assert set(_busy(agent)) == {card.uuid for card in TWO_CARDS}
        (tmp_path / "second").touch()
        for job in waiting:
            assert client.jobs.wait(job, WAIT_SECONDS).status == "completed"
            assert client.jobs.get(job).to_dict()["attempts"] == 1
        assert agent.file["pid"] == process


def test_a_job_survives_an_update_of_the_driver_and_the_cards_work_again_with_the_new_one(
    tmp_path: Path,
) -> None:
    """Between the update and its end, the new library refuses the old driver. What is submitted meanwhile waits, and does not fail."""
    with working(tmp_path, AITBC_MINER__GPU_POLL_SECONDS="0.2", AITBC_MINER__PAUSE__HOLD_SECONDS="1") as rig:
        first = rig.submit("small", "first")
        rig.until(lambda miner: [lease["stage"] for lease in miner["leases"]] == ["running"])
        rig.shim.init = VERSION_MISMATCH
        for card in (0, 1):
            rig.shim.change(card, error=VERSION_MISMATCH)
        rig.until(lambda miner: miner["paused"] is not None)
        assert rig.miner()["paused"].startswith("because of a fault")
        second = rig.submit("other")
        rig.open("first")
        assert rig.client.jobs.wait(first, WAIT_SECONDS).status == "completed"
        assert rig.client.jobs.get(second).status == "submitted"
        rig.shim.init, rig.shim.driver = 0, "580.65.06"
        rig.shim.generation += 1
        for card in (0, 1):
            rig.shim.change(card, error=None)
        assert rig.client.jobs.wait(second, WAIT_SECONDS).status == "completed"
        assert [rig.client.jobs.get(job).attempts for job in (first, second)] == [1, 1]
        _until(lambda: _drivers(rig.agent) == {"580.65.06"})


def _drivers(agent: Agent) -> set[str]:
    try:
        return {gpu["driver"] for gpu in _miner(agent)["gpus"]}
    except ControlUnavailable:
        return set()


def _miner(agent: Agent) -> dict[str, Any]:
    return asyncio.run(ask(agent.data_dir, "status"))


def _busy(agent: Agent) -> list[str]:
    """Return the devices of the working children; none while the miner examines its machine again."""
    try:
        return [child["device"] for child in _miner(agent)["children"] if child["busy"]]
    except ControlUnavailable:
        return []


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.1)
