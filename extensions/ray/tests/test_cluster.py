"""An agent whose jobs run on a Ray cluster: two nodes on this machine, with real engines, and one of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nvml_shim.shim import TWO_CARDS, NvmlShim, build
from ray_cluster import RayCluster, ray_cluster
from support.agents import Agent, running
from support.inputs.media import make_video, probe

pytestmark = [pytest.mark.acceptance, pytest.mark.ship]

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 180


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(nodes=2, cpus=2) as cluster:
        yield cluster


def test_the_demo_runs_on_both_nodes(cluster: RayCluster) -> None:
    """All seven jobs, with their receipts verified offline."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/demonstration/demo.py"],
        env={**os.environ, **cluster.settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "All checks passed" in done.stdout
    log = (ROOT / "build/demo/agent.log").read_text()
    placed = {
        line.partition("reason='Node ")[2].partition("'")[0]
        for line in log.splitlines()
        if "what=placed" in line
    }
    assert len(placed) == 2, "one node did all the work"


def test_jobs_survive_a_node_and_respect_other_work_of_the_cluster(
    cluster: RayCluster, tmp_path: Path
) -> None:
    """The node's job starts again on the other. What another program reserves of Ray, the miner does not offer."""
    agent = Agent(tmp_path / "data", "start", "--port", "0", **cluster.settings)
    with running(agent):
        assert agent.status()["miner"]["slots"] == {"total": 2, "free": 2}
        with other_work(cluster, cpus=4):
            until(lambda: agent.status()["miner"]["slots"]["free"] == 0)
            job = transcode(agent, make_video(tmp_path / "short.mp4"))
            assert agent.client().jobs.get(job).status == "submitted"
        assert agent.client().jobs.wait(job, WAIT_SECONDS).status == "completed"

        children = until(lambda: two_children(agent, tmp_path / "short.mp4"))
        assert len({child["node"] for child in children}) == 2
        node = cluster.nodes[1]
        raylet = node.raylet()
        (lost,) = [child for child in children if raylet in psutil.Process(child["pid"]).parents()]
        long = make_video(tmp_path / "long.mp4", seconds=20)
        jobs = [transcode(agent, long) for _ in range(2)]
        until(lambda: all((agent.client().jobs.get(job).progress or 0) > 0 for job in jobs))
        node.kill()
        for job in jobs:
            assert agent.client().jobs.wait(job, 2 * WAIT_SECONDS).status == "completed"
            (file,) = agent.client().jobs.get_results(job).output_files()
            path = agent.client().artifacts.download(file.artifact_id, tmp_path / f"{job}.mp4")
            assert float(probe(path)["format"]["duration"]) == pytest.approx(20, abs=0.2)
        attempts = sorted(agent.client().jobs.get(job).to_dict()["attempts"] for job in jobs)
        assert attempts == [1, 2]
        assert "NODE_LOST" in agent.log.read_text()
        assert lost["node"] not in {child["node"] for child in agent.status()["miner"]["children"]}


def test_a_paused_gpu_gets_no_runner(tmp_path: Path) -> None:
    """Ray would assign the first GPU, which its owner has paused. NVML is a stand-in; Ray, the agent and the transcoding are real."""
    shim = NvmlShim(build(tmp_path / "nvml"), tmp_path / "cards", TWO_CARDS)
    environment = {**shim.environment, "LD_LIBRARY_PATH": str(shim.library)}
    with ray_cluster(nodes=1, cpus=4, gpus=2, environment=environment) as cluster:
        agent = Agent(tmp_path / "data", "start", "--port", "0", **cluster.settings)
        with running(agent):
            assert [gpu["uuid"] for gpu in agent.status()["miner"]["gpus"]] == [
                card.uuid for card in TWO_CARDS
            ]
            agent.cli("pause", "--gpu", "0")
            job = transcode(agent, make_video(tmp_path / "video.mp4"))
            assert agent.client().jobs.wait(job, WAIT_SECONDS).status == "completed"
            (child,) = agent.status()["miner"]["children"]
            assert child["device"] == TWO_CARDS[1].uuid


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    environment = {
        "AITBC_MINER__EXECUTOR": "ray",
        "AITBC_MINER__RAY__ADDRESS": "127.0.0.1:9",
        "AITBC_MINER__RAY__CONNECT_SECONDS": "10",
    }
    command = [Path(sys.executable).with_name("aitbc-agent"), "start", "--data-dir", tmp_path, "--port", "0"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode != 0
    assert "The Ray cluster at 127.0.0.1:9" in done.stderr
    assert "ray start --address" in done.stderr or "miner.ray.address" in done.stderr


def other_work(cluster: RayCluster, cpus: int) -> Any:
    """Reserve processors of the cluster as another program does, until the end of the block."""
    script = (
        "import ray, sys\n"
        f"ray.init(address='{cluster.address}', log_to_driver=False)\n"
        "@ray.remote(num_cpus=1)\nclass Other:\n    def works(self): return True\n"
        f"others = [Other.remote() for _ in range({cpus})]\n"
        "ray.get([other.works.remote() for other in others])\n"
        "print('reserved', flush=True)\nsys.stdin.read()\n"
    )
    return _Held([sys.executable, "-c", script])


class _Held:
    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        assert "reserved" in self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=WAIT_SECONDS)


def transcode(agent: Agent, video: Path) -> str:
    client = agent.client()
    job = client.services.transcode(video, output_format="mp4", codec="h264", resolution="1280x720")
    return job.job_id


def two_children(agent: Agent, video: Path) -> list[dict[str, Any]] | None:
    """Run two jobs. Return the children if each job has had one of its own, which it has unless the other ended first."""
    for job in [transcode(agent, video) for _ in range(2)]:
        assert agent.client().jobs.wait(job, WAIT_SECONDS).status == "completed"
    children: list[dict[str, Any]] = agent.status()["miner"]["children"]
    return children if len(children) == 2 else None


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition, and return its value."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.2)
    return value
