"""What a machine survives while it works: real agents, their own processes stopped, their clocks moved. Each ends with the job done."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from aitbc import AITBCClient
from clock_shim.shim import Clocks
from support.agents import Agent, running

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

WAIT_SECONDS = 240
SUSPENDED_SECONDS = 600
FROZEN_SECONDS = 30
WORK_SECONDS = 25
SLEEPS = f"""
import time

def predict(input, **parameters):
    print("begun", flush=True)
    for _ in range({WORK_SECONDS}):
        time.sleep(1)
    return {{"done": True}}
"""


@contextmanager
def stopped(*agents: Agent) -> Iterator[None]:
    """Stop all processes of these agents, as a suspension does."""
    processes = []
    for agent in agents:
        assert agent.process is not None
        process = psutil.Process(agent.process.pid)
        processes += [process, *process.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.2)


def submit(client: AITBCClient) -> str:
    """Submit a job that works for `WORK_SECONDS`, and wait until it does."""
    body = {
        "type": "ai-inference", "input": {"type": "text"}, "output": {"type": "json"},
        "model": {"type": "python", "entrypoint": "model.py"}, "timeout_seconds": 300,
    }  # fmt: skip
    job = client.jobs.create(body, files={"model.py": SLEEPS.encode(), "in.txt": b"."}).job_id
    until(lambda: client.jobs.get(job).status == "running", "the job runs")
    time.sleep(2)
    return job


def done(client: AITBCClient, job: str) -> tuple[int, float]:
    """Wait until the job is completed. Return the number of its runs, and the seconds that the last one metered."""
    ended = client.jobs.wait(job, WAIT_SECONDS)
    assert ended.status == "completed", ended
    return ended.attempts, float(client.jobs.get_results(job).results["units"])


@contextmanager
def network(directory: Path, environment: dict[str, str]) -> Iterator[tuple[Agent, Agent]]:
    """Run a coordinator whose leases are short, and a miner with this environment."""
    coordinator = Agent(
        directory / "coordinator", "coordinator", "--port", "0",
        AITBC_COORDINATOR__OPEN_ENROLMENT="true", AITBC_COORDINATOR__LEASE_SECONDS="10",
        AITBC_COORDINATOR__HEARTBEAT_SECONDS="2",
    )  # fmt: skip
    with running(coordinator):
        miner = Agent(directory / "miner", "start", "--coordinator", coordinator.url, **environment)
        with running(miner):
            yield coordinator, miner


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path / "clocks")


def test_a_job_is_not_metered_while_its_processes_are_frozen(tmp_path: Path) -> None:
    """As a container is frozen: the monotonic clock goes on."""
    agent = Agent(tmp_path / "data", "start", "--port", "0")
    with running(agent), agent.client() as client:
        began = time.monotonic()
        job = submit(client)
        with stopped(agent):
            time.sleep(FROZEN_SECONDS)
        _, units = done(client, job)
        assert WORK_SECONDS <= units <= time.monotonic() - began - FROZEN_SECONDS + 2


def test_a_job_survives_a_suspension_of_its_machine(tmp_path: Path, clocks: Clocks) -> None:
    """The coordinator is on the same machine. The run goes on: it is not repeated, and its suspension is not metered."""
    agent = Agent(tmp_path / "data", "start", "--port", "0", **clocks.environment)
    with running(agent), agent.client() as client:
        job = submit(client)
        with stopped(agent):
            clocks.suspend(SUSPENDED_SECONDS)
        attempts, units = done(client, job)
        assert (attempts, WORK_SECONDS <= units < SUSPENDED_SECONDS) == (1, True)
        assert "clock_jumped" in agent.log.read_text()


def test_a_suspended_miner_works_again_at_once_and_its_job_is_done(tmp_path: Path, clocks: Clocks) -> None:
    """The coordinator is elsewhere, and its lease ends meanwhile. No other miner claimed the job, so the run goes on."""
    with network(tmp_path, clocks.environment) as (coordinator, miner), coordinator.client() as client:
        job = submit(client)
        with stopped(miner):
            clocks.suspend(SUSPENDED_SECONDS)
            until(lambda: client.jobs.get(job).status == "submitted", "the lease ends")
        assert done(client, job)[0] == 1
        assert miner.status()["miner"]["connection"] == "websocket"


@pytest.mark.parametrize("seconds", [3600, -3600], ids=["forward", "back"])
def test_a_job_survives_a_change_of_the_clock(tmp_path: Path, clocks: Clocks, seconds: int) -> None:
    """Of coordinator and miner, by an hour. What is submitted afterwards is done too, and paid."""
    agent = Agent(tmp_path / "data", "start", "--port", "0", **clocks.environment)
    with running(agent), agent.client() as client:
        job = submit(client)
        clocks.set(seconds)
        for ended in (job, submit(client)):
            attempts, units = done(client, ended)
            assert (attempts, units >= WORK_SECONDS) == (1, True)
