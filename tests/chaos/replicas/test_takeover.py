"""Another miner resumes the job of a lost miner from its checkpoints, and signs only its own results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aitbc.receipts import verify_bundle
from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner
from support.inputs.media import make_scene, make_speech, make_video, probe
from support.inputs.speech import STORY, similarity

pytestmark = pytest.mark.chaos

FRAMES = 6
VIDEO_SECONDS = 30

TAKE_OVER_SECONDS = 180
"""Time limit for a job whose miner was killed, also on a busy machine."""


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A coordinator that detects a lost miner within seconds."""
    coordinator = Agent(
        tmp_path_factory.mktemp("network") / "coordinator",
        "coordinator",
        "--port",
        "0",
        AITBC_COORDINATOR__LEASE_SECONDS="6",
        AITBC_COORDINATOR__HEARTBEAT_SECONDS="1",
    )
    with running(coordinator):
        yield coordinator


@pytest.fixture(scope="module")
def pair(coordinator: Agent) -> Iterator[list[Agent]]:
    """Two miners that store a checkpoint as often as they can. No test leaves both running."""
    options = ("start", "--coordinator", coordinator.url, "--enroll")
    pair = [
        Agent(
            coordinator.data_dir.with_name(name),
            *options,
            coordinator.cli("enroll").stdout.strip(),
            AITBC_RUNNERS__CHECKPOINT_SECONDS="0.01",
        )
        for name in ("first", "second")
    ]
    yield pair
    for miner in pair:
        if _runs(miner):
            miner.stop()


@pytest.fixture
def miners(pair: list[Agent]) -> list[Agent]:
    """A running miner, and one that is not."""
    pair.sort(key=_runs, reverse=True)
    if not _runs(pair[0]):
        pair[0].start()
    if _runs(pair[1]):
        pair[1].stop()
    return pair


def _runs(miner: Agent) -> bool:
    return miner.process is not None and miner.process.poll() is None


def take_over(coordinator: Agent, miners: list[Agent], job_id: str, kind: str) -> list[str]:
    """Kill the running miner at the first event of a kind, and start the other. Returns the names in these events."""
    running_miner, other = miners
    names: list[str] = []
    for event in coordinator.client().jobs.events(job_id, timeout=TAKE_OVER_SECONDS):
        if event.kind == kind:
            names.append(event.data["name"])
            if not _runs(other):
                running_miner.kill()
                other.start()
    return names


def assert_completed_by(coordinator: Agent, miner: Agent, job_id: str) -> dict[str, Any]:
    """Check the miner and the receipt of a completed job, and return its results."""
    client = coordinator.client()
    done = client.jobs.wait(job_id, timeout=TAKE_OVER_SECONDS)
    assert done.miner_id == miner.file["miner_id"]
    verification = verify_bundle(client.receipts.export(job_id), coordinator.file["log_key"])
    assert verification.valid, verification.failures
    results: dict[str, Any] = client.jobs.get_results(job_id).results
    return results


def test_a_file_planted_by_another_miner_is_not_signed(
    coordinator: Agent, pair: list[Agent], tmp_path: Path
) -> None:
    """A miner stores a file with the result's name and releases the job. The next miner signs its own ffmpeg's output."""
    for miner in pair:
        if _runs(miner):
            miner.stop()
    video = make_video(tmp_path / "input.mp4", seconds=1)
    client = coordinator.client()
    job = client.services.transcode(video, output_format="mp4", codec="h264", resolution="64x36")
    attacker = ScriptedMiner(coordinator.url)
    token = coordinator.cli("enroll").stdout.strip()
    assert attacker.register(enrolment_token=token).is_success
    (lease,) = attacker.poll()
    stored = attacker.upload((tmp_path / "input.mp4").read_bytes(), "video/mp4")
    planted = {
        "artifact_id": stored["artifact_id"], "name": "video.mp4", "media_type": "video/mp4",
        "size": stored["size"], "extra": {},
    }  # fmt: skip
    attacker.job(lease, "events", events=[{"kind": "output", "data": planted}])
    assert attacker.job(lease, "release", reason="shutdown").is_success
    attacker.http.close()
    honest = pair[0].start()
    results = assert_completed_by(coordinator, honest, job.job_id)
    assert results["file"]["artifact_id"] != stored["artifact_id"]
    assert (results["width"], results["height"]) == (64, 36)


def test_another_miner_resumes_after_the_existing_frames(
    coordinator: Agent, miners: list[Agent], tmp_path: Path
) -> None:
    """The first miner is killed after its first frame; the second renders only the rest, and the receipt verifies."""
    scene = make_scene(tmp_path / "scene.blend")
    job = coordinator.client().services.render(
        scene, engine="cycles", frames=f"1-{FRAMES}", resolution_x=320, resolution_y=180, samples=16
    )
    take_over(coordinator, miners, job.job_id, "output")
    results = assert_completed_by(coordinator, miners[1], job.job_id)
    assert sorted(frame["frame"] for frame in results["frames"]) == list(range(1, FRAMES + 1))
    assert results["resumed_frames"]
    assert len(results["resumed_frames"]) < FRAMES


def test_another_miner_resumes_a_transcription_after_the_existing_segments(
    coordinator: Agent, miners: list[Agent], tmp_path: Path
) -> None:
    """The second miner transcribes only the rest and states where its own segments begin; its receipt verifies."""
    spoken = " ".join([STORY] * 6)  # several batches of windows
    speech = make_speech(tmp_path / "speech.wav", spoken)
    job = coordinator.client().services.transcribe(speech, model="tiny.en", language="en")
    names = take_over(coordinator, miners, job.job_id, "checkpoint")
    results = assert_completed_by(coordinator, miners[1], job.job_id)
    assert 0 < results["resumed_until"] < results["duration"]
    assert len(names) == len(set(names)), "no part was made twice"
    starts = [segment["start"] for segment in results["segments"]]
    assert starts == sorted(starts)
    assert starts[0] < results["resumed_until"] < starts[-1] + 10
    assert similarity(results["text"], spoken) > 0.8


def test_another_miner_resumes_a_transcoding_after_the_existing_chunks(
    coordinator: Agent, miners: list[Agent], tmp_path: Path
) -> None:
    """The second miner encodes only the rest. The output has every frame once, at its time, and complete sound."""
    video = make_video(tmp_path / "input.mp4", seconds=VIDEO_SECONDS, size="480x270")
    client = coordinator.client()
    job = client.services.transcode(video, output_format="mp4", codec="hevc")
    names = take_over(coordinator, miners, job.job_id, "checkpoint")
    results = assert_completed_by(coordinator, miners[1], job.job_id)
    assert 0 < results["resumed_until"] < results["duration"]
    assert len(names) == len(set(names)), "no chunk was made twice"
    assert results["duration"] == pytest.approx(VIDEO_SECONDS, abs=0.1)
    made = tmp_path / "made.mp4"
    client.artifacts.download(results["file"]["artifact_id"], to=made)
    pictures, sound = (
        next(stream for stream in probe(made)["streams"] if stream["codec_type"] == kind)
        for kind in ("video", "audio")
    )
    assert (pictures["codec_name"], pictures["nb_frames"]) == ("hevc", str(25 * VIDEO_SECONDS))
    assert float(sound["duration"]) == pytest.approx(VIDEO_SECONDS, abs=0.1)
