"""The list of an account's files: uploads and outputs, with the jobs that use them."""

from __future__ import annotations

import hashlib

import httpx

from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served


def _store(client: httpx.Client, content: bytes, name: str | None = None) -> str:
    answer = client.post("/v1/artifacts", content=content, params={} if name is None else {"name": name})
    artifact_id: str = answer.raise_for_status().json()["artifact_id"]
    return artifact_id


def test_files_are_listed_with_the_jobs_that_use_them(client: httpx.Client, served: Served) -> None:
    first = _store(client, b"first", "talk.wav")
    second = _store(client, b"second")
    job_id = submit(client, audio_url=f"artifact:{first}")
    page = client.get("/v1/artifacts").raise_for_status().json()
    assert (page["total"], page["limit"], page["offset"]) == (2, 50, 0)
    assert page["stored_bytes"] >= len(b"firstsecond")
    assert [file["artifact_id"] for file in page["artifacts"]] == [second, first]
    talk = page["artifacts"][1]
    assert (talk["name"], talk["size"], talk["job_count"]) == ("talk.wav", 5, 1)
    assert talk["jobs"] == [{"job_id": job_id, "direction": "input"}]
    assert page["artifacts"][0]["jobs"] == []
    assert client.get("/v1/artifacts", params={"limit": 1, "offset": 1}).json()["artifacts"] == [talk]


def test_outputs_have_the_names_of_their_results(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    artifact = miner.store(b"00:00 hello", "text/vtt", lease).json()
    url = f"/v1/artifacts/{artifact['artifact_id']}"
    output = {**artifact, "name": "transcript.vtt", "url": url}
    results = {"text": "hello", "files": [output], "units": 1, "processing_time": 0.5}
    assert miner.complete(lease, results).status_code == 200
    (file,) = client.get("/v1/artifacts").json()["artifacts"]
    assert (file["name"], file["jobs"]) == (output["name"], [{"job_id": job_id, "direction": "output"}])


def test_a_beginning_of_an_id_finds_files(client: httpx.Client) -> None:
    artifact_id = _store(client, b"one of them")
    _store(client, b"another")
    for prefix in (artifact_id[:12], artifact_id):
        found = client.get("/v1/artifacts", params={"prefix": prefix}).json()
        assert [file["artifact_id"] for file in found["artifacts"]] == [artifact_id]
        assert found["total"] == 1
    nothing = "sha256:" + hashlib.sha256(b"never stored").hexdigest()
    assert client.get("/v1/artifacts", params={"prefix": nothing}).json()["artifacts"] == []
    assert client.get("/v1/artifacts", params={"prefix": "sha256:%"}).status_code == 422


def test_files_of_others_are_not_listed(client: httpx.Client, served: Served, admin: httpx.Client) -> None:
    """Nor the jobs of others that use the same file."""
    artifact_id = _store(client, b"the same file")
    submit(client, audio_url=f"artifact:{artifact_id}")
    stranger = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}, timeout=120)
    assert stranger.get("/v1/artifacts").json()["artifacts"] == []
    _store(stranger, b"the same file")
    (file,) = stranger.get("/v1/artifacts").json()["artifacts"]
    assert (file["artifact_id"], file["jobs"], file["job_count"]) == (artifact_id, [], 0)
    assert admin.get("/v1/artifacts").status_code == 409


def test_a_file_of_many_jobs_names_the_newest(client: httpx.Client) -> None:
    artifact_id = _store(client, b"a scene that is rendered again and again")
    job_ids = [submit(client, audio_url=f"artifact:{artifact_id}") for _ in range(22)]
    (file,) = client.get("/v1/artifacts").json()["artifacts"]
    assert file["job_count"] == 22
    assert [use["job_id"] for use in file["jobs"]] == sorted(job_ids, reverse=True)[:20]
