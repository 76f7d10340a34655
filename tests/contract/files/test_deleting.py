"""Deletion of artifacts: the space it frees, the refusals, and the receipts that still verify."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import quota
from agent.coordinator.store import artifacts
from agent.coordinator.store.artifacts import ArtifactRecord
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}


def store(client: httpx.Client, content: bytes) -> str:
    artifact_id: str = client.post("/v1/artifacts", content=content).raise_for_status().json()["artifact_id"]
    return artifact_id


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def blob(served: Served, artifact_id: str) -> Path:
    digest = artifact_id.removeprefix("sha256:")
    directory: Path = served.context.files.blobs.root / digest[:2]
    return next(directory.glob(f"{digest[2:]}*"), directory / digest[2:])


@pytest.fixture
def other(served: Served) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}, timeout=120)


def test_deleting_a_file_deletes_its_bytes_and_disables_its_links(
    served: Served, client: httpx.Client
) -> None:
    artifact_id = store(client, b"mine")
    link = client.post(f"/v1/artifacts/{artifact_id}/links").json()["url"]
    assert httpx.get(f"{served.url}{link}").content == b"mine"
    answer = client.delete(f"/v1/artifacts/{artifact_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    deleted = client.get(f"/v1/artifacts/{artifact_id}")
    assert code(deleted) == (404, "NOT_FOUND")
    assert "deleted" in deleted.json()["error"]["message"]
    assert code(client.delete(f"/v1/artifacts/{artifact_id}")) == (404, "NOT_FOUND")
    assert httpx.get(f"{served.url}{link}").status_code == 404
    assert not blob(served, artifact_id).exists()
    assert store(client, b"mine") == artifact_id
    assert client.get(f"/v1/artifacts/{artifact_id}").content == b"mine"


def test_only_the_owner_deletes_a_file(
    served: Served, client: httpx.Client, other: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    artifact_id = store(client, b"mine")
    address = f"/v1/artifacts/{artifact_id}"
    assert code(other.delete(address)) == (404, "NOT_FOUND")
    assert code(admin.delete(address)) == (409, "CONFLICT")
    assert miner.http.delete(f"{served.url}{address}").status_code == 401
    assert httpx.delete(f"{served.url}{address}").status_code == 401
    assert client.get(address).content == b"mine"


def test_the_bytes_remain_while_another_account_has_the_same_file(
    served: Served, client: httpx.Client, other: httpx.Client
) -> None:
    artifact_id = store(client, b"ours")
    assert store(other, b"ours") == artifact_id
    assert client.delete(f"/v1/artifacts/{artifact_id}").status_code == 204
    assert client.get(f"/v1/artifacts/{artifact_id}").status_code == 404
    assert other.get(f"/v1/artifacts/{artifact_id}").content == b"ours"
    assert other.delete(f"/v1/artifacts/{artifact_id}").status_code == 204
    assert not blob(served, artifact_id).exists()


def test_deleting_frees_the_quota(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", max_stored=1000) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
    ):
        artifact_id = store(client, bytes(900))
        assert client.post("/v1/artifacts", content=b"x" * 200).status_code == 413
        assert client.delete(f"/v1/artifacts/{artifact_id}").status_code == 204
        assert client.post("/v1/artifacts", content=b"x" * 1000).status_code == 201


def test_an_input_of_an_unfinished_job_cannot_be_deleted(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """This holds for waiting and running jobs; the error names the job."""
    artifact_id = store(client, b"RIFF of a job")
    address = f"/v1/artifacts/{artifact_id}"
    job_id = submit(client, audio_url=f"artifact:{artifact_id}")
    refused = client.delete(address)
    assert code(refused) == (409, "CONFLICT")
    assert refused.json()["error"]["details"] == {"job_ids": [job_id]}
    assert job_id in refused.json()["error"]["message"]
    (lease,) = miner.poll()
    assert client.delete(address).status_code == 409
    assert miner.http.get(f"{miner.url}{address}").content == b"RIFF of a job"
    assert miner.complete(lease, RESULTS).status_code == 200
    assert client.delete(address).status_code == 204
    assert not blob(served, artifact_id).exists()


def test_results_and_receipts_of_a_deleted_output_still_verify(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    stored = miner.upload(b"an output", "text/plain", lease)
    address = f"/v1/artifacts/{stored['artifact_id']}"
    results: dict[str, Any] = {**RESULTS, "files": [{**stored, "name": "a.txt", "url": address}]}
    assert miner.complete(lease, results).status_code == 200
    before = client.get(f"/v1/receipts/{job_id}").json()
    assert client.delete(address).status_code == 204
    assert code(client.get(address)) == (404, "NOT_FOUND")
    assert not blob(served, stored["artifact_id"]).exists()
    assert client.get(f"/v1/jobs/{job_id}/results").json()["results"] == results
    after = client.get(f"/v1/receipts/{job_id}").json()
    assert after == before
    verified = client.post("/v1/receipts/verify", json={"receipt": after}).json()
    assert (verified["valid"], verified["miner_signature_valid"]) == (True, True)


def test_a_file_that_is_being_stored_again_is_not_deleted(served: Served, client: httpx.Client) -> None:
    """Its new row does not exist yet when the old one is deleted, and then it refers to other bytes."""
    artifact_id = store(client, b"again")

    async def one(content: bytes):
        yield content

    async def between(context: Context) -> None:
        async with quota.receiving(context, [], one(b"again"), None) as stored:
            deleted = await asyncio.to_thread(client.delete, f"/v1/artifacts/{artifact_id}")
            assert deleted.status_code == 204
            record = ArtifactRecord(stored.artifact_id, stored.size, "text/plain", blob=stored.name)
            await context.database.write(artifacts.add, record, account_id, context.clock())

    account_id = client.get("/v1/wallet").json()["account_id"]
    served.do(between)
    assert client.get(f"/v1/artifacts/{artifact_id}").content == b"again"
