"""The Python clients' calls about what jobs were asked to do, wrote, and left behind; blocking and asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aitbc import AITBCClient, AsyncAITBCClient, Conflict, JobNotFound, ValidationFailed
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

Calls = Callable[[Callable[[Any], Any]], Any]
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}


@pytest.fixture(params=["blocking", "asyncio"])
def calls(request: pytest.FixtureRequest, served: Served) -> Iterator[Calls]:
    """Return a function that makes one call with a client."""
    if request.param == "blocking":
        with AITBCClient(served.client_key, served.url) as client:
            yield lambda call: call(client)
        return

    async def made(call: Callable[[AsyncAITBCClient], Any]) -> Any:
        async with AsyncAITBCClient(served.client_key, served.url) as client:
            return await call(client)

    yield lambda call: asyncio.run(made(call))


def test_a_job_is_labelled_found_repeated_read_and_deleted(
    calls: Calls, miner: ScriptedMiner, tmp_path: Path
) -> None:
    (tmp_path / "interview.mp3").write_bytes(b"sound")
    labels = {"project": "podcast"}
    job = calls(
        lambda client: client.services.transcribe(tmp_path / "interview.mp3", model="base", labels=labels)
    )
    found = calls(lambda client: client.jobs.get(job.job_id))
    assert (found.name, found.labels) == ("interview.mp3", labels)
    assert found.inputs[0]["name"] == "interview.mp3"
    assert list(found.parameters) == ["audio_url"]
    for filters in ({"labels": {"project": "podcast"}}, {"name": "interview.mp3"}):
        page = calls(lambda client, filters=filters: client.jobs.list(**filters))
        assert ([one.job_id for one in page.jobs], page.total) == ([job.job_id], 1)
    assert calls(lambda client: client.jobs.list(labels={"project": "film"})).total == 0
    with pytest.raises(Conflict, match="is submitted"):
        calls(lambda client: client.jobs.delete_data(job.job_id))
    (lease,) = miner.poll()
    assert calls(lambda client: client.jobs.list(miner_id=miner.miner_id)).total == 1
    assert calls(lambda client: client.jobs.list(offer_id="offer_none")).total == 0
    lines = [{"time": time.time(), "source": "stdout", "text": text} for text in ("loading", "running")]
    body = {**miner.result_body(lease, RESULTS), "log": {"entries": lines}}
    miner.http.post(f"/jobs/{job.job_id}/result", json=body).raise_for_status()
    log = calls(lambda client: client.jobs.log(job.job_id))
    assert (str(log), log.truncated, log.entries[0].source) == ("loading\nrunning", False, "stdout")

    again = calls(lambda client: client.jobs.rerun(job.job_id, set={"language": "de"}, name="in German"))
    repeated = calls(lambda client: client.jobs.get(again.job_id))
    assert (repeated.name, repeated.parameters["language"], repeated.labels) == ("in German", "de", labels)
    with pytest.raises(ValidationFailed, match="colour"):
        calls(lambda client: client.jobs.rerun(job.job_id, set={"colour": "red"}))
    keyed = [
        calls(lambda client: client.jobs.rerun(job.job_id, idempotency_key="once")).job_id for _ in range(2)
    ]
    assert keyed[0] == keyed[1]

    assert calls(lambda client: client.jobs.delete_data(job.job_id)).job_id == job.job_id
    with pytest.raises(JobNotFound):
        calls(lambda client: client.jobs.get(job.job_id))
    assert calls(lambda client: client.receipts.get(job.job_id)).job_id == job.job_id


def test_the_input_of_a_program_has_its_own_name(calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def predict(input): return 1")
    names = {"cat.jpeg": "cat.jpeg (main.py)", "data.zip": "data.zip (main.py)"}
    for name, expected in names.items():
        (tmp_path / name).write_bytes(b"content")
        job = calls(
            lambda client, name=name: client.services.run(tmp_path / "main.py", input=tmp_path / name)
        )
        found = calls(lambda client, job=job: client.jobs.get(job.job_id))
        assert found.name == expected
        assert {one["field"] for one in found.inputs} == {"model.source", "input.source"}
