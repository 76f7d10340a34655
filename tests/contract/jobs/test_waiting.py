"""`Prefer: wait=N`: the answer to a new job waits for its end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
CALLS = {
    "/v1/jobs": {"type": "whisper-transcription", "parameters": WHISPER},
    "/v1/services/whisper/transcribe": WHISPER,
}


@contextmanager
def working(miner: ScriptedMiner, how: str) -> Iterator[None]:
    """The miner takes the next job, and completes it or fails."""

    def work() -> None:
        (lease,) = miner.poll()
        if how == "completed":
            miner.complete(lease, RESULTS)
        else:
            miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No audio.")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result()


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("how", "part"),
    [
        ("completed", {"results": RESULTS}),
        ("failed", {"error": {"code": "INPUT_INVALID", "message": "No audio."}}),
    ],
)
def test_the_answer_holds_what_the_job_came_to(
    client: httpx.Client, miner: ScriptedMiner, path: str, how: str, part: dict[str, Any]
) -> None:
    """And says for how long it would have waited; nobody waits longer than a minute."""
    with working(miner, how):
        answer = client.post(path, json=CALLS[path], headers={"Prefer": "respond-async, wait=9999"})
    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert {name: answer.json().get(name) for name in ("status", *part)} == {"status": how, **part}


@pytest.mark.parametrize("path", CALLS)
def test_the_answer_comes_when_the_time_is_over(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=CALLS[path], headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (201, "submitted")
    assert answer.headers["Preference-Applied"] == "wait=1"


@pytest.mark.parametrize("prefer", [None, "wait", "wait=x", "wait=0", "respond-async"])
@pytest.mark.parametrize("path", CALLS)
def test_without_a_time_nothing_waits(client: httpx.Client, path: str, prefer: str | None) -> None:
    headers = {} if prefer is None else {"Prefer": prefer}
    answer = client.post(path, json=CALLS[path], headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (201, "submitted")
    assert "Preference-Applied" not in answer.headers
