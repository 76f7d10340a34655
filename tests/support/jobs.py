"""A small job that every test miner offers, and a client's requests about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

SILENCE_SECONDS = 7.5
"""Half of the time after which a silent stream sends a sign of life."""
WHISPER = {"audio_url": "https://example.com/a.mp3", "model": "base"}


def submit(client: httpx.Client, **options: Any) -> str:
    """Submit the job. Returns its id."""
    answer = client.post("/v1/services/whisper/transcribe", json={**WHISPER, **options})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """Return the job's status."""
    value: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
    return value


@contextmanager
def followed(client: httpx.Client, job_id: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """Yield the events of a job: kind and data. Published events arrive at once, not at the stream's next poll."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events", timeout=SILENCE_SECONDS) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        yield _events(stream)


def ended(client: httpx.Client, job_id: str, status: str) -> None:
    """Wait until the job ends, and check its state."""
    with followed(client, job_id) as events:
        *_, (_, last) = events
    assert last["status"] == status


def _events(stream: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in stream.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
