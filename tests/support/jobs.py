"""A small job that every miner of the tests offers, and what a client asks of it."""

from __future__ import annotations

from typing import Any

import httpx

WHISPER = {"audio_url": "https://example.com/a.mp3", "model": "base"}


def submit(client: httpx.Client, **options: Any) -> str:
    """Submit the job. Returns its id."""
    answer = client.post("/v1/services/whisper/transcribe", json={**WHISPER, **options})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job's status."""
    value: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
    return value
