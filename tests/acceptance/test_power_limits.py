"""A whole agent sets its owner's power limits through the helper, which restores them when the agent is killed; and the best limit is found.

NVML is a stand-in (no machine that runs these tests has a GPU); the agent, the helper and the benchmark are real.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.power_helper import helper as helper_module
from miner_support import hungry_runner
from nvml_shim.shim import TWO_CARDS, NvmlShim, build
from support.agents import Agent
from support.machines.two_cards import WAIT_SECONDS, working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

OWN = 450_000


@contextmanager
def helping(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run the helper for this user, in place of the service."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    command = ["/usr/bin/python3", "-I", helper_module.__file__, "--user", user, "--socket", str(path)]
    with subprocess.Popen(command, env=dict(environment)) as process:
        try:
            yield
        finally:
            process.terminate()


def until_limits(shim: NvmlShim, *milliwatts: int) -> None:
    """Wait until the cards have these limits."""
    end = time.monotonic() + WAIT_SECONDS
    while (limits := [_limit(shim, index) for index in range(len(milliwatts))]) != list(milliwatts):
        assert time.monotonic() < end, limits
        time.sleep(0.05)


def _limit(shim: NvmlShim, index: int) -> int:
    changed = Path(f"{shim.file}.power_limit.{index}")
    return int(changed.read_text() or 0) if changed.exists() else OWN


def test_limits_of_cards_apply_while_the_agent_lives(tmp_path: Path) -> None:
    """The first card has a schedule of its own that covers the whole week. Without the helper, status says what to do."""
    socket = tmp_path / "helper"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/agent.toml").write_text(
        f'[miner.energy]\npower_limit = 300\npower_helper = "{socket}"\n'
        '[miner.gpus.0]\npower_limits = { "00:00-12:00" = 200, "12:00-24:00" = 200 }\n'
    )
    with working(tmp_path) as rig:
        miner = rig.until(lambda miner: len(miner["power_limits"]["problems"]) == 2)
        assert "service install --power-limits" in miner["power_limits"]["problems"][TWO_CARDS[0].uuid]
        assert "power limit: GPU 1: Power limits need the helper" in rig.agent.cli("status").stdout
        rig.agent.stop()
        with helping(socket, rig.shim.environment):
            rig.agent.start()
            until_limits(rig.shim, 200_000, 300_000)
            miner = rig.until(lambda miner: len(miner["power_limits"]["set"]) == 2)
            assert miner["power_limits"] == {
                "set": {TWO_CARDS[0].uuid: 200, TWO_CARDS[1].uuid: 300}, "problems": {},
            }  # fmt: skip
            rig.agent.kill()
            until_limits(rig.shim, OWN, OWN)


def test_the_limit_with_the_most_work_for_a_kilowatt_hour_is_found_and_applied(tmp_path: Path) -> None:
    """A real runner on the simulated card at six limits. Afterwards the card has its own limit again."""
    shim = NvmlShim(build(tmp_path / "nvml"), tmp_path / "cards", cards=())
    shim.cards = (TWO_CARDS[0],)
    shim.change(0, energy=1000)
    environment = {
        **hungry_runner.install(tmp_path / "packages"),
        "LD_LIBRARY_PATH": str(shim.library),
        "NVML_SHIM_FILE": str(shim.file),
        "AITBC_MINER__ENERGY__POWER_HELPER": str(tmp_path / "helper"),
    }
    agent = Agent(tmp_path / "data", **environment)
    command = ("efficiency", "--service", "hungry", "--seconds", "0.1", "--apply")
    done = agent.cli(*command, check=False, seconds=WAIT_SECONDS)
    assert done.returncode == 1
    assert "systemctl start aitbc-power" in done.stderr
    with helping(tmp_path / "helper", shim.environment):
        done = agent.cli(*command, "--json", seconds=WAIT_SECONDS)
        (card,) = json.loads(done.stdout)
        assert [score["limit"] for score in card["scores"]] == list(hungry_runner.SPEEDS)
        assert card["best"]["limit"] == 270
        best, most = card["best"]["units_per_kwh"], card["scores"][0]["units_per_kwh"]
        assert best / most == pytest.approx(450 / 270 * 0.85)
        until_limits(shim, OWN)
    assert "[miner.gpus.0]\npower_limit = 270" in (tmp_path / "data/agent.toml").read_text()
