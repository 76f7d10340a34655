"""Texts that PostgreSQL cannot store."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from support.jobs import WHISPER
from support.server import serve

pytestmark = pytest.mark.system


def test_attack_the_character_nul_is_refused_and_is_no_failure_of_the_server(tmp_path: Path) -> None:
    """In a query, which only compares, and in what is written."""
    with serve(tmp_path / "data") as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        body = {"type": "whisper_transcription", "parameters": WHISPER, "name": "a\0b", "wait": True}
        for answer in (client.get("/v1/jobs", params={"name": "\0"}), client.post("/v1/jobs", json=body)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
        assert client.get("/v1/jobs").json()["total"] == 0
