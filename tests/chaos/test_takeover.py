"""A rendering that its miner does not live to finish goes on on another one, after the frames that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from aitbc.receipts import verify_bundle
from support.agents import Agent, running
from support.media import make_scene

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

FRAMES = 6


def test_another_miner_continues_after_the_frames_that_exist(tmp_path: Path) -> None:
    """The first miner is killed after its first frame; the second renders only the rest, and the receipt verifies."""
    scene = make_scene(tmp_path / "scene.blend")
    coordinator = Agent(
        tmp_path / "coordinator",
        "coordinator",
        "--port",
        "0",
        AITBC_COORDINATOR__LEASE_SECONDS="6",
        AITBC_COORDINATOR__HEARTBEAT_SECONDS="1",
    )
    with running(coordinator):
        client = coordinator.client()

        def miner(name: str) -> Agent:
            token = coordinator.cli("enroll").stdout.strip()
            return Agent(tmp_path / name, "start", "--coordinator", coordinator.url, "--enroll", token)

        first, second = miner("first"), miner("second")
        with running(first):
            job = client.services.render(
                scene, engine="cycles", frames=f"1-{FRAMES}", resolution_x=320, resolution_y=180, samples=32
            )
            for event in client.jobs.events(job.job_id, timeout=120):
                if event.kind == "output":
                    break
            first.kill()
        with running(second):
            done = client.jobs.wait(job.job_id, timeout=200)
            assert done.miner_id == second.file["miner_id"]
            results = client.jobs.get_results(job.job_id).results
            assert sorted(frame["frame"] for frame in results["frames"]) == list(range(1, FRAMES + 1))
            assert results["resumed_frames"]
            assert len(results["resumed_frames"]) < FRAMES
            bundle = client.receipts.export(job.job_id)
            verification = verify_bundle(bundle, coordinator.file["log_key"])
            assert verification.valid, verification.failures
