"""Another miner resumes the job of a lost miner from its checkpoints, and signs only its own results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aitbc.receipts import verify_bundle
from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner
from support.media import SENTENCE, make_scene, make_speech, make_video, probe

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

FRAMES = 6

TAKE_OVER_SECONDS = 180
"""Time limit for a job whose miner was killed, also on a busy machine."""


def coordinator_in(directory: Path) -> Agent:
    """Return a coordinator that detects a lost miner within seconds."""
    return Agent(
        directory / "coordinator",
        "coordinator",
        "--port",
        "0",
        AITBC_COORDINATOR__LEASE_SECONDS="6",
        AITBC_COORDINATOR__HEARTBEAT_SECONDS="1",
    )


def miner_of(coordinator: Agent, directory: Path, **environment: str) -> Agent:
    """Return a miner with a directory of its own."""
    token = coordinator.cli("enroll").stdout.strip()
    return Agent(directory, "start", "--coordinator", coordinator.url, "--enroll", token, **environment)


@contextmanager
def ended(agent: Agent) -> Iterator[None]:
    """End an agent that the block starts."""
    try:
        yield
    finally:
        if agent.process is not None and agent.process.poll() is None:
            agent.stop()


def test_a_file_planted_by_another_miner_is_not_signed(tmp_path: Path) -> None:
    """A miner stores a file with the result's name and releases the job. The next miner signs its own ffmpeg's output."""
    video = make_video(tmp_path / "input.mp4", seconds=1)
    stranger = (tmp_path / "input.mp4").read_bytes()
    coordinator = coordinator_in(tmp_path)
    with running(coordinator):
        client = coordinator.client()
        job = client.services.transcode(video, output_format="mp4", codec="h264", resolution="64x36")
        attacker = ScriptedMiner(coordinator.url)
        token = coordinator.cli("enroll").stdout.strip()
        assert attacker.register(enrolment_token=token).is_success
        (lease,) = attacker.poll()
        stored = attacker.upload(stranger, "video/mp4")
        planted = {
            "artifact_id": stored["artifact_id"], "name": "video.mp4", "media_type": "video/mp4",
            "size": stored["size"], "extra": {},
        }  # fmt: skip
        attacker.job(lease, "events", events=[{"kind": "output", "data": planted}])
        assert attacker.job(lease, "release", reason="shutdown").is_success
        attacker.http.close()
        honest = miner_of(coordinator, tmp_path / "honest")
        with running(honest):
            done = client.jobs.wait(job.job_id, timeout=100)
            assert done.miner_id == honest.file["miner_id"]
        results = client.jobs.get_results(job.job_id).results
        assert results["file"]["artifact_id"] != stored["artifact_id"]
        assert (results["width"], results["height"]) == (64, 36)


def test_another_miner_resumes_after_the_existing_frames(tmp_path: Path) -> None:
    """The first miner is killed after its first frame; the second renders only the rest, and the receipt verifies."""
    scene = make_scene(tmp_path / "scene.blend")
    coordinator = coordinator_in(tmp_path)
    with running(coordinator):
        client = coordinator.client()
        first, second = (miner_of(coordinator, tmp_path / name) for name in ("first", "second"))
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


def take_over(coordinator: Agent, first: Agent, second: Agent, job_id: str) -> list[str]:
    """Kill the first miner when it has stored a checkpoint, and start the second. Returns all checkpoints in order."""
    names: list[str] = []
    for event in coordinator.client().jobs.events(job_id, timeout=TAKE_OVER_SECONDS):
        if event.kind == "checkpoint":
            names.append(event.data["name"])
            if second.process is None:
                first.kill()
                second.start()
    return names


@pytest.mark.timeout(500)
def test_another_miner_resumes_a_transcription_after_the_existing_segments(tmp_path: Path) -> None:
    """The second miner transcribes only the rest and states where its own segments begin; its receipt verifies."""
    speech = make_speech(tmp_path / "speech.wav", " ".join([SENTENCE] * 16))
    coordinator = coordinator_in(tmp_path)
    with running(coordinator):
        client = coordinator.client()
        first, second = (
            miner_of(coordinator, tmp_path / name, AITBC_RUNNERS__CHECKPOINT_SECONDS="0.01")
            for name in ("first", "second")
        )
        with running(first), ended(second):
            job = client.services.transcribe(speech, model="tiny.en", language="en", engine="faster-whisper")
            names = take_over(coordinator, first, second, job.job_id)
            done = client.jobs.wait(job.job_id, timeout=TAKE_OVER_SECONDS)
            assert done.miner_id == second.file["miner_id"]
        results = client.jobs.get_results(job.job_id).results
        assert 0 < results["resumed_until"] < results["duration"]
        assert len(names) == len(set(names)), "no part was made twice"
        starts = [segment["start"] for segment in results["segments"]]
        assert starts == sorted(starts)
        assert starts[0] < results["resumed_until"] < starts[-1] + 10
        assert results["text"].count("short message") >= 12
        verification = verify_bundle(client.receipts.export(job.job_id), coordinator.file["log_key"])
        assert verification.valid, verification.failures


@pytest.mark.timeout(500)
def test_another_miner_resumes_a_transcoding_after_the_existing_chunks(tmp_path: Path) -> None:
    """The second miner encodes only the rest. The output has every frame once, at its time, and complete sound."""
    video = make_video(tmp_path / "input.mp4", seconds=45, size="480x270")
    coordinator = coordinator_in(tmp_path)
    with running(coordinator):
        client = coordinator.client()
        first, second = (
            miner_of(coordinator, tmp_path / name, AITBC_RUNNERS__CHECKPOINT_SECONDS="0.01")
            for name in ("first", "second")
        )
        with running(first), ended(second):
            job = client.services.transcode(video, output_format="mp4", codec="hevc")
            names = take_over(coordinator, first, second, job.job_id)
            done = client.jobs.wait(job.job_id, timeout=TAKE_OVER_SECONDS)
            assert done.miner_id == second.file["miner_id"]
        results = client.jobs.get_results(job.job_id).results
        assert 0 < results["resumed_until"] < results["duration"]
        assert len(names) == len(set(names)), "no chunk was made twice"
        assert results["duration"] == pytest.approx(45, abs=0.1)
        made = tmp_path / "made.mp4"
        client.artifacts.download(results["file"]["artifact_id"], to=made)
        pictures, sound = (
            next(stream for stream in probe(made)["streams"] if stream["codec_type"] == kind)
            for kind in ("video", "audio")
        )
        assert (pictures["codec_name"], pictures["nb_frames"]) == ("hevc", "1125")
        assert float(sound["duration"]) == pytest.approx(45, abs=0.1)
        verification = verify_bundle(client.receipts.export(job.job_id), coordinator.file["log_key"])
        assert verification.valid, verification.failures
