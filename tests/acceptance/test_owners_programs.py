"""A program of the owner takes the whole machine back while a job runs there: the job is returned, and done afterwards."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.agents import Agent, running

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

WAIT_SECONDS = 180
BODY = {
    "type": "ai-inference",
    "input": {"type": "text"},
    "output": {"type": "json"},
    "model": {"type": "python", "entrypoint": "model.py"},
}
SLEEPS = b"import time\ndef predict(input):\n    time.sleep(15)\n    return {}\n"


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.2)


def test_the_machine_is_its_owners_while_a_program_of_theirs_runs(tmp_path: Path) -> None:
    game = tmp_path / "a-game"
    shutil.copy("/bin/sleep", game)
    agent = Agent(
        tmp_path / "data", "start", "--port", "0", AITBC_MINER__PAUSE__PROGRAMS='["a-game"]',
        AITBC_MINER__PAUSE__RUNNING_JOBS="hand_back", AITBC_MINER__PAUSE__HOLD_SECONDS="1",
    )  # fmt: skip
    with running(agent), agent.client() as client:
        job = client.jobs.create(BODY, files={"model.py": SLEEPS, "in.txt": b"."}).job_id
        until(lambda: client.jobs.get(job).status == "running", "the job runs")
        with subprocess.Popen([game, "600"]) as program:
            until(lambda: client.jobs.get(job).status == "submitted", "the job is returned")
            until(lambda: "for another program (a-game)" in agent.cli("status").stdout, "the owner sees why")
            program.kill()
        assert client.jobs.wait(job, WAIT_SECONDS).status == "completed"
