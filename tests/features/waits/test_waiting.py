"""`Prefer: wait=N`: the response to a new job waits until the job has ended."""

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
def working(miner: ScriptedMiner, outcome: str) -> Iterator[None]:
    """The miner claims the next job and completes it or reports a failure."""

    def work() -> None:
        (lease,) = miner.poll()
        if outcome == "completed":
            miner.complete(lease, RESULTS)
        else:
            miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No audio.")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result()


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("completed", {"results": RESULTS}),
        ("failed", {"error": {"code": "INPUT_INVALID", "message": "No audio."}}),
    ],
)
def test_the_response_contains_the_results_or_the_error(
    client: httpx.Client, miner: ScriptedMiner, path: str, outcome: str, expected: dict[str, Any]
) -> None:
    """The response states the applied wait, at most a minute."""
    with working(miner, outcome):
        answer = client.post(path, json=CALLS[path], headers={"Prefer": "respond-async, wait=9999"})
    assert answer.status_code == 201
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert {name: answer.json().get(name) for name in ("status", *expected)} == {
        "status": outcome,
        **expected,
    }


@pytest.mark.parametrize("path", CALLS)
def test_the_response_comes_when_the_wait_is_over(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=CALLS[path], headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (201, "submitted")
    assert answer.headers["Preference-Applied"] == "wait=1"


@pytest.mark.parametrize("prefer", [None, "wait", "wait=x", "wait=0", "respond-async"])
@pytest.mark.parametrize("path", CALLS)
def test_without_a_valid_wait_the_response_comes_immediately(
    client: httpx.Client, path: str, prefer: str | None
) -> None:
    headers = {} if prefer is None else {"Prefer": prefer}
    answer = client.post(path, json=CALLS[path], headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (201, "submitted")
    assert "Preference-Applied" not in answer.headers
