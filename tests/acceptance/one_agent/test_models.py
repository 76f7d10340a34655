"""Language models, images and renderings from end to end: a client, the coordinator, a miner, real engines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from agent.miner.control import ask
from aitbc import AITBCClient
from aitbc.errors import APIError, JobFailed
from aitbc.receipts import verify_bundle
from support.agents import Agent
from support.inputs.media import make_scene

pytestmark = pytest.mark.acceptance

LLM = "smollm2-135m-instruct"
JOB_SECONDS = 200


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blender's default cube with a moving camera."""
    return make_scene(tmp_path_factory.mktemp("scene") / "scene.blend")


def test_a_language_model_answers_a_factual_question(agent: Agent, client: AITBCClient) -> None:
    """The answer is streamed while it is generated, the stream equals the result, and the receipt names the weights."""
    stream = client.services.stream(
        messages=[{"role": "user", "content": "Name the capital of France."}],
        model=LLM,
        temperature=0,
        max_tokens=32,
    )
    text = "".join(stream)
    results = client.jobs.get_results(stream.job.job_id).results
    assert "Paris" in text
    assert text == results["text"]
    assert results["finish_reason"] == "stop"
    usage = results["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] == results["units"]
    bundle = client.receipts.export(stream.job.job_id)
    verification = verify_bundle(bundle, agent.file["log_key"])
    assert verification.valid, verification.failures


@pytest.mark.ship
def test_eight_requests_form_a_batch_and_cancelling_one_does_not_affect_the_others(
    agent: Agent, client: AITBCClient
) -> None:
    """All eight run concurrently on a machine with one slot. The fourth is cancelled, and seven complete."""
    jobs = [
        client.services.infer(
            f"Count from {number} to {number + 40}, separated by commas.",
            model=LLM,
            temperature=0,
            max_tokens=100,
        )
        for number in range(8)
    ]
    for job in jobs:
        for event in client.jobs.events(job.job_id, timeout=JOB_SECONDS):
            if event.kind == "token":
                break
    cancelled = jobs.pop(3)
    client.jobs.cancel(cancelled.job_id)
    done = [client.jobs.wait(job.job_id, timeout=JOB_SECONDS) for job in jobs]
    assert all(client.jobs.get_results(job.job_id).results["text"] for job in jobs)
    assert client.jobs.get(cancelled.job_id).status == "cancelled"
    assert asyncio.run(ask(agent.data_dir, "status"))["slots"]["total"] == 1
    started, completed = (
        [str(getattr(job, name)) for job in done] for name in ("started_at", "completed_at")
    )
    assert max(started) < min(completed), "one ended before another began"


def test_a_request_that_is_too_long_fails_with_the_limit(client: AITBCClient) -> None:
    job = client.services.infer("word " * 9000, model=LLM, max_tokens=8)
    with pytest.raises(JobFailed) as caught:
        client.jobs.wait(job.job_id, timeout=JOB_SECONDS)
    assert caught.value.code == "CONTEXT_OVERFLOW"
    assert "4096" in str(caught.value)


def test_an_unknown_model_is_refused_with_a_suggestion(client: AITBCClient) -> None:
    with pytest.raises(APIError, match="Did you mean smollm2-135m-instruct"):
        client.services.infer("Hello", model="smollm2-135m-instrukt")


@pytest.mark.ship
def test_the_same_seed_generates_the_same_image(agent: Agent, client: AITBCClient, tmp_path: Path) -> None:
    """Images of an untrained model are noise, but identical in every run, pixel for pixel."""
    pictures = []
    for seed in (7, 7, 8):
        job = client.services.generate(
            "a lighthouse", model="untrained-diffusion", size="64x64", steps=2, seed=seed
        )
        client.jobs.wait(job.job_id, timeout=JOB_SECONDS)
        [image] = client.jobs.get_results(job.job_id).results["images"]
        assert (image["seed"], image["width"], image["height"]) == (seed, 64, 64)
        path = client.artifacts.download(image["artifact_id"], to=tmp_path / f"{job.job_id}.png")
        pictures.append(Image.open(path).convert("RGB"))
        assert verify_bundle(client.receipts.export(job.job_id), agent.file["log_key"]).valid
    assert ImageChops.difference(pictures[0], pictures[1]).getbbox() is None
    assert ImageChops.difference(pictures[0], pictures[2]).getbbox() is not None


@pytest.mark.ship
def test_frames_are_delivered_one_by_one_and_then_as_a_video(
    agent: Agent, client: AITBCClient, scene: Path, tmp_path: Path
) -> None:
    """Each frame is available while the next one is rendered."""
    job = client.services.render(
        scene, engine="cycles", frames="1-3", resolution_x=64, resolution_y=36, samples=4, video=True
    )
    early: dict[int, str] = {}
    for event in client.jobs.events(job.job_id, timeout=JOB_SECONDS):
        if event.kind == "output":
            early[event.data["extra"]["frame"]] = event.data["artifact_id"]
            assert client.artifacts.get(event.data["artifact_id"]).startswith(b"\x89PNG")
    results = client.jobs.get_results(job.job_id).results
    frames = {frame["frame"]: frame["artifact_id"] for frame in results["frames"]}
    assert sorted(frames) == [1, 2, 3]
    assert early
    assert early.items() <= frames.items()
    path = client.artifacts.download(results["frames"][1]["artifact_id"], to=tmp_path / "frame.png")
    assert Image.open(path).size == (64, 36)
    assert results["video"]["media_type"] == "video/mp4"
    verification = verify_bundle(client.receipts.export(job.job_id), agent.file["log_key"])
    assert verification.valid, verification.failures
