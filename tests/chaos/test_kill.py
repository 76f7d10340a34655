"""`kill -9` during a job: of the runner's process, the miner, the coordinator, or all at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.miner.sealing.directory import find
from aitbc import AITBCClient
from aitbc.receipts import verify_bundle
from support.agents import Agent, running, wait_for_progress
from support.inputs.media import make_video
from support.servers.ports import reserved_port

pytestmark = pytest.mark.chaos

JOB_SECONDS = 150


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that is long enough for a kill during its transcoding."""
    return make_video(tmp_path_factory.mktemp("media") / "long.mp4", seconds=16, size="640x360")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Agent]]:
    """Run a coordinator and a miner in two processes."""
    directory = tmp_path_factory.mktemp("network")
    # The same port after a kill, as in a real installation.
    with reserved_port() as port:
        coordinator = Agent(directory / "coordinator", "coordinator", "--port", str(port))
        with running(coordinator):
            token = coordinator.cli("enroll").stdout.strip()
            miner = Agent(directory / "miner", "start", "--coordinator", coordinator.url, "--enroll", token)
            with running(miner):
                yield coordinator, miner


def submit(coordinator: Agent, video: Path) -> tuple[AITBCClient, str]:
    """Submit a job and wait until it is running."""
    client = coordinator.client()
    stored = client.artifacts.upload(video, media_type="video/mp4")
    body = {"input_url": f"artifact:{stored.artifact_id}", "output_format": "mp4", "codec": "hevc"}
    job_id: str = client.services.call("ffmpeg/transcode", body)["job_id"]
    wait_for_progress(coordinator.url, coordinator.file["client_key"], job_id)
    return client, job_id


def assert_done_once(coordinator: Agent, client: AITBCClient, job_id: str, attempts: int) -> None:
    """Check that the job is completed once, with one valid receipt."""
    done = client.jobs.wait(job_id, timeout=JOB_SECONDS)
    assert (done["status"], done["attempts"]) == ("completed", attempts)
    bundle = client.receipts.export(job_id)
    verification = verify_bundle(bundle, coordinator.file["log_key"])
    assert verification.valid, verification.failures
    database = coordinator.data_dir / "coordinator" / "coordinator.db"

    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for table in ("receipts", "results"):
            count = f"SELECT count(*) FROM {table} WHERE job_id = ?"  # noqa: S608 - a literal
            assert connection.execute(count, (job_id,)).fetchone() == (1,)
        ended = connection.execute("SELECT outcome FROM runs WHERE job_id = ?", (job_id,)).fetchall()
    assert [outcome for (outcome,) in ended].count("completed") == 1


def test_the_runners_process_is_killed(network: tuple[Agent, Agent], video: Path) -> None:
    """The daemon survives, and the job is retried."""
    coordinator, miner = network
    client, job_id = submit(coordinator, video)
    (child,) = [child for child in miner.status()["miner"]["children"] if child["busy"]]
    os.kill(child["pid"], signal.SIGKILL)
    assert_done_once(coordinator, client, job_id, attempts=2)
    assert miner.process is not None
    assert miner.process.poll() is None


def test_the_miner_is_killed(network: tuple[Agent, Agent], video: Path) -> None:
    """Its children end with it. After its restart the job runs again before the lease expires."""
    coordinator, miner = network
    client, job_id = submit(coordinator, video)
    assert miner.process is not None
    family = psutil.Process(miner.process.pid).children(recursive=True)
    assert family
    miner.kill()
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive, f"orphans: {alive}"
    miner.start()
    assert_done_once(coordinator, client, job_id, attempts=2)


def test_the_coordinator_is_killed(network: tuple[Agent, Agent], video: Path) -> None:
    """The miner continues and delivers the result after the restart; its run counts."""
    coordinator, miner = network
    session = miner.status()["miner"]["session"]
    client, job_id = submit(coordinator, video)
    coordinator.kill()
    coordinator.start()
    assert_done_once(coordinator, client, job_id, attempts=1)
    assert miner.status()["miner"]["session"] == session


def test_the_coordinator_is_down_until_after_the_job(network: tuple[Agent, Agent], video: Path) -> None:
    """The result waits in the miner's outbox, even through a `kill -9` of the miner."""
    coordinator, miner = network
    client, job_id = submit(coordinator, video)
    coordinator.kill()
    while not miner.status()["miner"]["outbox"]:
        pass
    miner.kill()
    coordinator.start()
    miner.start()
    assert_done_once(coordinator, client, job_id, attempts=1)


def test_a_standalone_agent_is_killed(tmp_path: Path, video: Path) -> None:
    """Coordinator, miner and runner end at once."""
    with reserved_port() as port:
        agent = Agent(tmp_path / "agent", "start", "--port", str(port))
        with running(agent):
            client, job_id = submit(agent, video)
            agent.kill()
            agent.start()
            assert_done_once(agent, client, job_id, attempts=2)


@pytest.mark.needs("sealing")
def test_the_plaintexts_of_a_sealed_job_are_wiped_after_a_kill(
    network: tuple[Agent, Agent], video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were only in memory, and the next start removes them before it runs the job again."""
    coordinator, miner = network
    monkeypatch.setenv("AITBC_CONFIG_DIR", str(tmp_path))
    memory = find(Path("/dev/shm"), miner.data_dir / "miner").path  # noqa: S108 - the default of miner.sealing.directory
    assert memory is not None
    with coordinator.client() as client:
        (known,) = client.marketplace.miners().miners
        body = {"type": "video-transcoding", "parameters": {"output_format": "mp4", "codec": "hevc"}}
        job_id = client.jobs.create(body, {"input_url": video}, seal=known.miner_id).job_id
        wait_for_progress(coordinator.url, coordinator.file["client_key"], job_id)
        miner.kill()
        (left,) = memory.glob("*/inputs/0")
        assert left.read_bytes() == video.read_bytes()
        first = left.parents[1]
        miner.start()
        assert not first.exists()
        assert_done_once(coordinator, client, job_id, attempts=2)
        file = client.jobs.get_results(job_id).output_files()[0]
        assert client.artifacts.download(file.artifact_id, tmp_path / "out.mp4").stat().st_size == file.size
    for _ in range(100):  # the last run's directory is removed in the background
        if not any(memory.glob("*")):
            break
        time.sleep(0.05)
    assert list(memory.glob("*")) == []
