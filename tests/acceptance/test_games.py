"""A game takes its card back while a job runs there: the job is returned at once, at its next checkpoint, or may finish.

NVML is a stand-in (no machine that runs these tests has a GPU); the agent, the jobs and the program that counts as a game are real.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aitbc import AITBCClient
from miner_support.cards import GIBIBYTE
from nvml_shim.shim import TWO_CARDS
from support.machines.two_cards import POLL_SECONDS, WAIT_SECONDS, Rig, working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

HAND_BACK, CHECKPOINT = (card.uuid for card in TWO_CARDS)
A_WHILE_SECONDS = 5


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The first card is returned at once, the second one at a checkpoint."""
    with working(
        tmp_path_factory.mktemp("machine"),
        AITBC_MINER__PAUSE__OTHER_PROGRAMS="true",
        AITBC_MINER__PAUSE__HOLD_SECONDS="1",
        AITBC_MINER__GPUS__0__PAUSE__RUNNING_JOBS="hand_back",
        AITBC_MINER__GPUS__1__PAUSE__RUNNING_JOBS="checkpoint",
    ) as rig:
        yield rig


@contextmanager
def game(rig: Rig, card: int, memory: int = 6 * GIBIBYTE) -> Iterator[None]:
    """Let a real process draw on a card, with so much of its memory."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        rig.shim.change(card, graphics=f"{program.pid}:{memory}")
        try:
            yield
        finally:
            program.kill()
            rig.shim.change(card, graphics=None)


def run_on(rig: Rig, card: int, gate: str, **body: Any) -> str:
    """Start a job on this card, and wait until it runs."""
    rig.ask("pause", gpu=str(1 - card))
    job = rig.submit("small", gate, **body)
    rig.until(lambda miner: [lease["stage"] for lease in miner["leases"]] == ["running"])
    return job


def until_returned(rig: Rig, job: str, uuid: str) -> None:
    """Wait until the job waits for a miner again, and its model has left the card's memory."""
    end = time.monotonic() + WAIT_SECONDS
    while rig.miner()["leases"] or rig.cards.claimed(uuid) or rig.client.jobs.get(job).status != "submitted":
        assert time.monotonic() < end, rig.miner()
        time.sleep(POLL_SECONDS)


def test_a_job_is_handed_back_at_once_and_nobody_is_blamed(rig: Rig) -> None:
    """A desktop that draws on the card too is no game."""
    job = run_on(rig, 0, "first")
    with game(rig, 0, memory=GIBIBYTE):
        time.sleep(A_WHILE_SECONDS)
        assert rig.client.jobs.get(job).status == "running"
    with game(rig, 0):
        until_returned(rig, job, HAND_BACK)
        assert rig.miner()["gpus"][0]["paused"] == "for another program"
    rig.open("first")
    assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    with AITBCClient(rig.agent.file["admin_key"], rig.agent.url) as operator:
        (miner,) = operator.admin.overview().miners
    assert (miner.failed_runs, miner.throttled_until) == (0, None)
    rig.ask("resume")


def test_a_job_is_handed_back_at_its_next_checkpoint_and_goes_on_from_there(rig: Rig) -> None:
    job = run_on(rig, 1, "second", mode="part", text="half of the work")
    with game(rig, 1):
        rig.until(lambda miner: miner["gpus"][1]["paused"] == "for another program")
        time.sleep(A_WHILE_SECONDS)
        assert rig.client.jobs.get(job).status == "running"
        rig.open("second")
        until_returned(rig, job, CHECKPOINT)
    assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    results = rig.client.jobs.get_results(job).results
    assert results["resumed"] == {"part.txt": "half of the work"}
    rig.ask("resume")


def test_a_job_without_checkpoints_may_finish_and_one_whose_game_has_ended_goes_on(rig: Rig) -> None:
    job = run_on(rig, 1, "third")
    with game(rig, 1):
        rig.until(lambda miner: miner["gpus"][1]["paused"] == "for another program")
        rig.open("third")
        assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    rig.until(lambda miner: miner["gpus"][1]["paused"] is None)
    job = run_on(rig, 1, "fourth", mode="part", text="x")
    with game(rig, 1):
        rig.until(lambda miner: miner["gpus"][1]["paused"] == "for another program")
    rig.until(lambda miner: miner["gpus"][1]["paused"] is None)
    rig.open("fourth")
    time.sleep(A_WHILE_SECONDS)
    rig.open("fourth.end")
    assert rig.client.jobs.wait(job, WAIT_SECONDS).status == "completed"
    assert rig.client.jobs.get_results(job).results["resumed"] is None
