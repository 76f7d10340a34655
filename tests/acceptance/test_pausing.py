"""Pausing one of two cards of a complete agent: from the command line, through the API, because of heat, for another program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agent.miner.control import CallRefused
from miner_support.cards import GIBIBYTE
from nvml_shim.shim import TWO_CARDS
from support.machines.two_cards import POLL_SECONDS, WAIT_SECONDS, Rig, working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]
FIRST, SECOND = (card.uuid for card in TWO_CARDS)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A machine whose second card has a temperature limit, and which pauses for its owner's programs."""
    with working(
        tmp_path_factory.mktemp("machine"),
        AITBC_MINER__PAUSE__OTHER_PROGRAMS="true",
        AITBC_MINER__PAUSE__HOLD_SECONDS="1",
        AITBC_MINER__GPUS__1__PAUSE__MAX_TEMPERATURE="80",
    ) as rig:
        yield rig


def paused(miner: dict[str, Any]) -> list[str | None]:
    return [gpu["paused"] for gpu in miner["gpus"]]


def test_a_paused_card_frees_its_memory_while_the_other_one_works(rig: Rig) -> None:
    """A job that only the paused card has a slot for waits, and runs after the card is resumed."""
    jobs = [rig.submit("small", "one"), rig.submit("middle", "two")]
    miner = rig.until(lambda miner: sum(child["busy"] for child in miner["children"]) == 2)
    where = {child["model"]: child["device"] for child in miner["children"] if child["model"]}
    rig.open("one")
    rig.client.jobs.wait(jobs[0], WAIT_SECONDS)
    card = next(index for index, card in enumerate(TWO_CARDS) if card.uuid == where["small"])
    assert rig.cards.claimed(where["small"]) == 6 * GIBIBYTE
    began = time.monotonic()
    answer = json.loads(rig.agent.cli("pause", "--gpu", str(card), "--for", "1h", "--json").stdout)
    assert answer["gpus"][where["small"]]["words"].startswith("by hand until ")
    while rig.cards.claimed(where["small"]):
        assert time.monotonic() < began + WAIT_SECONDS
        time.sleep(POLL_SECONDS)
    assert rig.cards.claimed(where["middle"]) == 10 * GIBIBYTE
    waits = rig.submit("small")
    assert f"paused: {answer['gpus'][where['small']]['words']}" in rig.agent.cli("status").stdout
    assert rig.miner()["slots"] == {"total": 2, "free": 0}
    assert rig.client.jobs.get(waits).status == "submitted"
    assert rig.ask("resume", gpu=str(card))["gpus"] == {}
    assert rig.client.jobs.wait(waits, WAIT_SECONDS).status == "completed"
    rig.open("two")
    rig.client.jobs.wait(jobs[1], WAIT_SECONDS)


def test_the_owner_pauses_a_card_through_the_api(rig: Rig) -> None:
    """With the miner's key. The command is executed promptly and once."""
    miner = f"{rig.agent.url}/v1/miners/{rig.miner()['miner_id']}"
    headers = {"Authorization": f"Bearer {rig.agent.file['miner_key']}"}
    with httpx.Client(headers=headers, timeout=300) as owner:
        command = owner.post(f"{miner}/pause", json={"gpu": FIRST, "seconds": 3600})
        assert command.status_code == 202
        rig.until(lambda miner: paused(miner)[0] is not None)
        end = time.monotonic() + WAIT_SECONDS
        while (seen := owner.get(miner).json())["commands"] or seen["gpus"][0]["paused"] is None:
            assert time.monotonic() < end, seen
            time.sleep(POLL_SECONDS)
        assert seen["gpus"][0]["power_limit"] == 450
        assert sum(use["share"] for use in seen["idle"]) == pytest.approx(1)
        owner.post(f"{miner}/resume", json={"gpu": FIRST})
        rig.until(lambda miner: paused(miner) == [None, None])


def test_heat_pauses_only_the_card_with_a_limit_until_it_has_cooled(rig: Rig) -> None:
    for card in (0, 1):
        rig.shim.change(card, temperature=81)
    miner = rig.until(lambda miner: paused(miner)[1])
    assert paused(miner) == [None, "for the temperature (limit 80 °C)"]
    assert miner["slots"] == {"total": 2, "free": 1}
    for card in (0, 1):
        rig.shim.change(card, temperature=41)
    rig.until(lambda miner: paused(miner) == [None, None])


def test_another_program_pauses_its_card_while_it_computes(rig: Rig) -> None:
    """The agent's own processes do not, nor do ids without a process on this machine."""
    rig.shim.change(1, processes="4194303")
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        rig.shim.change(0, processes=str(program.pid))
        miner = rig.until(lambda miner: paused(miner)[0])
        assert paused(miner) == ["for another program", None]
    finally:
        program.kill()
        program.wait()
    rig.until(lambda miner: paused(miner) == [None, None])
    ours = [child["pid"] for child in rig.miner()["children"]]
    rig.shim.change(0, processes=",".join(map(str, ours)))
    rig.client.jobs.wait(rig.submit("small"), WAIT_SECONDS)
    assert paused(rig.miner()) == [None, None]


def test_a_drain_reports_its_end_and_all_cards_paused_leave_no_slots(rig: Rig) -> None:
    """Resuming the miner also resumes single cards. An unknown GPU is refused with a list of the GPUs."""
    job = rig.submit("small", "three")
    rig.until(lambda miner: miner["leases"] and miner["leases"][0]["stage"] == "running")
    left = rig.agent.cli("drain", "--wait", "--limit", "1s", check=False)
    assert (left.returncode, "Still left: " in left.stderr) == (1, True)
    rig.open("three")
    assert "Drained: no job is running" in rig.agent.cli("drain", "--wait").stdout
    assert rig.client.jobs.get(job).status == "completed"
    assert (rig.miner()["paused"], rig.miner()["slots"]["free"]) == ("by hand", 0)
    rig.ask("pause", gpu="0")
    rig.ask("pause", gpu="1")
    assert rig.ask("resume", gpu="1")["miner"]["words"] == "by hand"
    assert rig.agent.cli("resume").stdout == "The miner accepts jobs again.\n"
    assert rig.miner()["slots"]["free"] == 2
    with pytest.raises(CallRefused, match=r"There is no GPU '7' here; this machine has 0 \(GPU-1111"):
        rig.ask("pause", gpu="7")
