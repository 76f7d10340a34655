"""A recording of ten minutes through the whole path: upload, miner, batches of windows, signed results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from aitbc.receipts import verify_bundle
from support.agents import Agent, running
from support.inputs.media import make_speech, probe
from support.inputs.speech import STORY, similarity

pytestmark = pytest.mark.acceptance

JOB_SECONDS = 500
SPOKEN = " ".join([STORY] * 10)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("agent") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


def test_ten_minutes_of_speech_are_transcribed(agent: Agent, tmp_path: Path) -> None:
    """Progress and segments arrive during the job; the receipt names the weights of faster-whisper."""
    recording = make_speech(tmp_path / "recording.wav", SPOKEN)
    duration = float(probe(recording)["format"]["duration"])
    assert duration > 600
    client = agent.client()
    job = client.services.transcribe(recording, model="tiny.en", language="en", output_formats=["srt"])
    events = list(client.jobs.events(job.job_id, timeout=JOB_SECONDS))
    done = client.jobs.wait(job.job_id, timeout=JOB_SECONDS)
    results = client.jobs.get_results(job.job_id).results
    assert results["duration"] == pytest.approx(duration, abs=0.1)
    assert similarity(results["text"], SPOKEN) > 0.75  # of a synthetic voice; it varies with the threads
    starts = [segment["start"] for segment in results["segments"]]
    assert starts == sorted(starts)
    assert max(after - before for before, after in pairwise(starts)) < 30
    assert results["segments"][-1]["end"] == pytest.approx(duration, abs=3)
    kinds = [event.kind for event in events]
    first, last = kinds.index("segment"), len(kinds) - 1 - kinds[::-1].index("segment")
    reported = {event.data["progress"] for event in events[first:last] if "progress" in event.data}
    assert len(reported) >= 3
    bundle = client.receipts.export(done.job_id)
    assert verify_bundle(bundle, agent.file["log_key"]).valid
