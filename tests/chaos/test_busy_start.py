"""A machine that is busy while its agent starts loses no service for longer than it is busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.miner.machine.probe_results import LATER
from aitbc import AITBCClient
from aitbc.errors import CannotRun
from support.agents import Agent
from support.inputs.media import make_video

pytestmark = pytest.mark.chaos

LOOPS = 2 * len(os.sched_getaffinity(0))
SERVICE = "video_transcoding"
START_SECONDS = 500
LIMIT_SECONDS = 300


@contextmanager
def busy() -> Iterator[None]:
    """Keep the processors busy with programs that want all of them."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def until_offered(agent: Agent) -> dict[str, Any]:
    """Return the miner's status when it offers the service."""
    deadline = time.monotonic() + LIMIT_SECONDS
    # The coordinator answers before the miner does, on a busy machine for a while.
    while agent.cli("status", "--json", check=False).returncode:
        assert time.monotonic() < deadline, "the miner does not answer"
    while SERVICE not in (miner := agent.status()["miner"])["services"]:
        assert time.monotonic() < deadline, miner["unavailable"]
        assert miner["unavailable"][SERVICE][0].endswith(LATER), "it fails for no other reason"
    return miner


def transcode(client: AITBCClient, video: Path) -> str:
    return client.services.transcode(video, codec="h264", resolution="64x36").job_id


def refusal(client: AITBCClient, video: Path) -> str:
    """Return why the job cannot run; empty if it can, since the probe has ended meanwhile."""
    try:
        transcode(client, video)
    except CannotRun as error:
        return str(error)
    return ""


def test_services_that_are_not_probed_at_a_busy_start_are_offered_without_a_restart(tmp_path: Path) -> None:
    """Their clients learn why they must wait. No machine probes within the short time that the start waits here."""
    video = make_video(tmp_path / "in.mov", seconds=1, size="128x72")
    patience = {"AITBC_MINER__PROBE_SECONDS": "0.001", "AITBC_MINER__GPU_POLL_SECONDS": "0.2"}
    agent = Agent(tmp_path / "agent", "start", "--port", "0", **patience)
    try:
        with busy():
            agent.start(START_SECONDS)
        check(agent, video)
    finally:
        agent.stop()


def check(agent: Agent, video: Path) -> None:
    process = agent.file["pid"]
    reason = refusal(agent.client(), video)
    assert not reason or "The probe of ffmpeg did not end within 0.001 s." in reason
    until_offered(agent)
    job_id = transcode(agent.client(), video)
    assert agent.client().jobs.wait(job_id, timeout=LIMIT_SECONDS).status == "completed"
    assert agent.file["pid"] == process
    assert "probe_undecided" not in agent.log.read_text(), "no probe was ended"
