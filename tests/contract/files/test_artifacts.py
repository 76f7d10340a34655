"""Storing and reading files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve

DATA = os.urandom(3 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def pieces() -> list[bytes]:
    return [DATA[start : start + 100_000] for start in range(0, len(DATA), 100_000)]


@pytest.fixture
def stored(client: httpx.Client) -> str:
    answer = client.post("/v1/artifacts", content=iter(pieces()), headers={"Content-Type": "video/mp4"})
    assert answer.status_code == 201
    assert answer.json() == {"artifact_id": ARTIFACT, "size": len(DATA), "media_type": "video/mp4"}
    return ARTIFACT


def test_a_stored_file_is_returned_unchanged(client: httpx.Client, stored: str) -> None:
    answer = client.get(f"/v1/artifacts/{stored}")
    assert answer.status_code == 200
    assert answer.content == DATA
    assert answer.headers["content-type"] == "video/mp4"
    head = client.head(f"/v1/artifacts/{stored}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=3000000-", 3_000_000, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        (f"bytes=5-{len(DATA) + 100}", 5, len(DATA)),
    ],
)
def test_a_range_returns_those_bytes(
    client: httpx.Client, stored: str, header: str, start: int, end: int
) -> None:
    answer = client.get(f"/v1/artifacts/{stored}", headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


@pytest.mark.parametrize("header", [f"bytes={len(DATA)}-", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(client: httpx.Client, stored: str, header: str) -> None:
    answer = client.get(f"/v1/artifacts/{stored}", headers={"Range": header})
    assert (answer.status_code, answer.json()["error"]["code"]) == (416, "RANGE_NOT_SATISFIABLE")


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=1-2,5-6"])
def test_an_unsupported_range_is_ignored(client: httpx.Client, stored: str, header: str) -> None:
    answer = client.get(f"/v1/artifacts/{stored}", headers={"Range": header})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


def test_a_file_over_the_limit_is_refused_and_leaves_no_bytes(tmp_path: Path) -> None:
    with serve(tmp_path / "data", max_artifact=1_000_000) as served:
        answer = httpx.post(
            f"{served.url}/v1/artifacts", content=iter(pieces()), headers={"X-API-Key": served.client_key}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
        files = (path for path in (tmp_path / "data/coordinator/artifacts").rglob("*") if path.is_file())
        assert {path.name for path in files} <= {"installation.id"}


def test_another_accounts_file_is_not_found(served: Served, stored: str) -> None:
    answer = httpx.get(f"{served.url}/v1/artifacts/{stored}", headers={"X-API-Key": served.other_key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_a_miner_reads_an_input_only_while_it_holds_the_lease(
    client: httpx.Client, miner: ScriptedMiner, stored: str
) -> None:
    url = f"{miner.url}/v1/artifacts/{stored}"
    assert miner.http.get(url).status_code == 404
    body = {"audio_url": f"artifact:{stored}", "model": "base"}
    job_id = client.post("/v1/services/whisper/transcribe", json=body).json()["job_id"]
    assert miner.http.get(url).status_code == 404
    (lease,) = miner.poll()
    assert miner.http.get(url).content == DATA
    assert miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="No.").status_code == 200
    assert miner.http.get(url).status_code == 404
    assert client.get(f"/v1/jobs/{job_id}").json()["error"] == {"code": "INPUT_INVALID", "message": "No."}


def test_an_input_may_be_named_as_its_upload_was(
    client: httpx.Client, miner: ScriptedMiner, stored: str
) -> None:
    """Miners get the one form that all of them know."""
    body = {"audio_url": stored, "model": "base"}
    answer = client.post("/v1/services/whisper/transcribe", json=body)
    assert answer.status_code == 201, answer.text
    (lease,) = miner.poll()
    assert lease["spec"]["parameters"]["audio_url"] == f"artifact:{stored}"
    assert miner.http.get(f"{miner.url}/v1/artifacts/{stored}").content == DATA


def test_an_empty_file_can_be_stored_and_read(client: httpx.Client) -> None:
    stored = client.post("/v1/artifacts", content=b"").json()
    answer = client.get(f"/v1/artifacts/{stored['artifact_id']}")
    assert (answer.status_code, answer.content) == (200, b"")
