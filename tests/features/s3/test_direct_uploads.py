"""Files that go straight to a bucket of a real S3 server: signed URLs, proof of the digest, quotas, crashes, and the sweep."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.s3 import direct
from agent.coordinator.features.s3 import store as direct_uploads
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import removal
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve
from support.servers.s3 import S3Server

DATA = os.urandom(direct.PART_SIZE + 1_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
ARTIFACT = f"sha256:{SHA256}"
PLANS = "/v1/direct-uploads"
DAY = 86_400


@pytest.fixture
def bucket(s3: S3Server) -> dict[str, Any]:
    return s3.settings("files")


@pytest.fixture
def served(tmp_path: Path, bucket: dict[str, Any]) -> Iterator[Served]:
    with serve(tmp_path / "data", bucket, open_enrolment=True, max_stored="40Mi") as served:
        yield served


def plan(client: httpx.Client, data: bytes = DATA, **more: Any) -> dict[str, Any]:
    body = {"size": len(data), "media_type": "video/mp4", "name": "a film.mp4", **more}
    answer: dict[str, Any] = client.post(PLANS, json=body).raise_for_status().json()
    return answer


def put(part: dict[str, Any], data: bytes = DATA) -> httpx.Response:
    content = data[part["offset"] : part["offset"] + part["size"]]
    return httpx.request(part["method"], part["url"], content=content, headers=part["headers"], timeout=120)


def report(
    client: httpx.Client, upload: dict[str, Any], *sent: httpx.Response, **more: Any
) -> httpx.Response:
    parts = [
        {"number": part["number"], "etag": answer.headers["etag"]}
        for part, answer in zip(upload["parts"], sent, strict=True)
    ]
    return client.post(f"{PLANS}/{upload['upload_id']}/parts", json={"parts": parts, **more}, timeout=120)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def blobs(served: Served) -> list[str]:
    async def listed(context: Context) -> list[str]:
        return [found.name async for batch in context.files.blobs.listed() for found in batch]

    return served.do(listed)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_bytes_bypass_the_coordinator(
    served: Served, client: httpx.Client, s3: S3Server, bucket: dict[str, Any], whole: bool
) -> None:
    """One request, whose digest the store checks, or parts, which the coordinator reads once."""
    upload = plan(client, **({"sha256": SHA256} if whole else {}))
    assert [part["size"] for part in upload["parts"]] == (
        [len(DATA)] if whole else [direct.PART_SIZE, 1_000_000]
    )
    sent = [put(part) for part in upload["parts"]]
    assert code(client.get(f"/v1/artifacts/{ARTIFACT}")) == (404, "NOT_FOUND")
    stored = report(client, upload, *sent, sha256=SHA256).raise_for_status().json()
    assert (stored["state"], stored["artifact"]) == (
        "stored", {"artifact_id": ARTIFACT, "size": len(DATA), "media_type": "video/mp4"},
    )  # fmt: skip
    requests = [each for each in s3.requests(bucket) if each["size"] > 10_000]
    assert all("python-httpx" in each["agent"] and not each["key"] for each in requests)
    elsewhere = client.get(f"/v1/artifacts/{ARTIFACT}", params={"redirect": "true"})
    assert (elsewhere.status_code, elsewhere.content) == (307, b"")
    received = httpx.get(elsewhere.headers["location"], headers={"Range": "bytes=5-9"})
    assert (received.content, received.headers["content-type"]) == (DATA[5:10], "video/mp4")
    assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA
    repeated = report(client, upload, *sent, sha256=SHA256).json()
    assert repeated["artifact"] == stored["artifact"]
    assert client.delete(f"/v1/artifacts/{ARTIFACT}").status_code == 204
    assert blobs(served) == []


def test_a_digest_is_believed_only_when_it_is_proven(served: Served, client: httpx.Client) -> None:
    """Otherwise an account could get another's file by naming its SHA-256."""
    secret = os.urandom(1000)
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    artifact_id = other.post("/v1/artifacts", content=secret).json()["artifact_id"]
    named, wrong = artifact_id.removeprefix("sha256:"), os.urandom(1000)
    whole = plan(client, wrong, sha256=named)
    assert put(whole["parts"][0], wrong).status_code == 400
    forged = [{"number": 1, "etag": '"0"'}]
    answer = client.post(f"{PLANS}/{whole['upload_id']}/parts", json={"parts": forged})
    assert code(answer) == (409, "CONFLICT")
    in_parts = plan(client, wrong, sha256=named, in_parts=True)
    answer = report(client, in_parts, put(in_parts["parts"][0], wrong))
    assert code(answer) == (460, "CHECKSUM_MISMATCH")
    assert put(in_parts["parts"][0], wrong).is_error
    again = client.post(f"{PLANS}/{in_parts['upload_id']}/parts", json={})
    assert code(again) == (460, "CHECKSUM_MISMATCH")
    assert client.get(f"/v1/artifacts/{artifact_id}").status_code == 404
    assert other.get(f"/v1/artifacts/{artifact_id}").content == secret
    assert len(blobs(served)) == 1


def test_a_signed_url_allows_one_request_of_the_announced_size(client: httpx.Client, s3: S3Server) -> None:
    upload = plan(client, in_parts=True)
    first = upload["parts"][0]
    assert put({**first, "size": first["size"] - 1}).status_code == 403
    assert httpx.get(first["url"]).status_code == 403
    assert httpx.put(first["url"].replace("partNumber=1", "partNumber=3"), content=b"").status_code == 403
    assert put({**first, "url": first["url"].replace("blobs/", "blobs/0")}).status_code == 403


def test_uploads_belong_to_their_account_and_count_towards_its_quota(
    served: Served, client: httpx.Client
) -> None:
    """Their whole size from the beginning on, until they are terminated."""
    first, second = plan(client), plan(client)
    body = {"size": len(DATA)}
    assert code(client.post(PLANS, json=body)) == (413, "PAYLOAD_TOO_LARGE")
    assert client.post("/v1/artifacts", content=bytes(7 * 2**20)).status_code == 413
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    path = f"{PLANS}/{second['upload_id']}"
    assert code(other.post(f"{path}/parts", json={})) == (404, "NOT_FOUND")
    assert other.delete(path).status_code == 404
    assert client.delete(path).status_code == 204
    assert put(second["parts"][0]).is_error
    sent = [put(part) for part in first["parts"]]
    assert report(client, first, *sent, sha256=SHA256).json()["state"] == "stored"
    assert plan(client)["state"] == "receiving"


@pytest.mark.parametrize("ending", ["deleted", "reported without bytes"])
def test_attack_an_ended_upload_whose_url_is_still_valid_stores_nothing_beyond_the_quota(
    served: Served, client: httpx.Client, ending: str
) -> None:
    """Otherwise each URL would store a file that no quota counts, until the sweep of the next day."""
    uploads = []
    while not (
        answer := client.post(PLANS, json={"size": len(DATA), "sha256": SHA256, "name": "x"})
    ).is_error:
        uploads.append(answer.json())
        if ending == "deleted":
            client.delete(f"{PLANS}/{uploads[-1]['upload_id']}").raise_for_status()
        else:
            parts = {"parts": [{"number": 1, "etag": '"0"'}]}
            assert client.post(f"{PLANS}/{uploads[-1]['upload_id']}/parts", json=parts).status_code == 409
        again = client.post(f"{PLANS}/{uploads[-1]['upload_id']}/parts", json={})
        assert code(again) == (404, "NOT_FOUND")
    assert answer.status_code == 507 or code(answer)[0] == 413
    assert len(uploads) == 2  # of 17 MiB each in 40 MiB
    assert put(uploads[0]["parts"][0]).is_success
    later = time.time() + 3600
    object.__setattr__(served.context, "clock", lambda: later)
    served.do(direct.expire_due)
    assert blobs(served) == []
    object.__setattr__(served.context, "clock", time.time)
    assert plan(client, sha256=SHA256)["parts"]


def test_attack_a_url_that_outlives_its_deleted_file_stores_it_for_an_hour_at_most(
    served: Served, client: httpx.Client
) -> None:
    client.post("/v1/artifacts", content=b"retained").raise_for_status()
    upload = plan(client, sha256=SHA256)
    report(client, upload, put(upload["parts"][0])).raise_for_status()
    client.delete(f"/v1/artifacts/{ARTIFACT}").raise_for_status()
    assert put(upload["parts"][0]).is_success
    assert len(blobs(served)) == 2
    assert served.do(removal.remove_orphans) == 0
    later = time.time() + 3601
    object.__setattr__(served.context, "clock", lambda: later)
    assert served.do(removal.remove_orphans) == 1
    assert len(blobs(served)) == 1


def test_an_interrupted_upload_of_the_same_file_continues(served: Served, client: httpx.Client) -> None:
    """A client that was killed does not know its upload's id."""
    upload = plan(client, sha256=SHA256, in_parts=True)
    first = put(upload["parts"][0])
    upload["parts"].pop()
    report(client, upload, first).raise_for_status()
    again = plan(client, sha256=SHA256, in_parts=True)
    assert (again["upload_id"], [part["number"] for part in again["parts"]]) == (upload["upload_id"], [2])
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert plan(other, sha256=SHA256, in_parts=True)["upload_id"] != upload["upload_id"]


def test_an_upload_continues_after_a_restart(tmp_path: Path, s3: S3Server) -> None:
    """On another replica, which shares only the database and the bucket."""
    settings = s3.settings()
    with serve(tmp_path / "data", settings) as served:
        key = served.client_key
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)
        upload = plan(client)
        first = put(upload["parts"][0])
        upload["parts"].pop()
        assert report(client, upload, first).json()["missing"] == 1
    with serve(tmp_path / "data", settings) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)
        upload = client.post(f"{PLANS}/{upload['upload_id']}/parts", json={}).json()
        assert [part["number"] for part in upload["parts"]] == [2]
        stored = report(client, upload, put(upload["parts"][0]), sha256=SHA256).json()
        assert stored["artifact"]["artifact_id"] == ARTIFACT
        assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


@pytest.mark.parametrize("step", ["complete", "_digest", "_record"])
def test_a_crash_while_an_upload_ends_loses_nothing(
    served: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """After the store has joined the parts, before they are checked, or before the row is written."""
    upload = plan(client)
    sent = [put(part) for part in upload["parts"]]

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("crashed")

    with monkeypatch.context() as patched:
        target, name = (served.context.files.blobs, "size") if step == "complete" else (direct, step)
        patched.setattr(target, name, crash)
        assert report(client, upload, *sent, sha256=SHA256).status_code == 500
    assert client.get(f"/v1/artifacts/{ARTIFACT}").status_code == 404
    assert report(client, upload, *sent, sha256=SHA256).json()["state"] == "stored"
    assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


def test_expired_uploads_and_orphans_are_removed(served: Served, client: httpx.Client) -> None:
    artifact_id = client.post("/v1/artifacts", content=b"retained").json()["artifact_id"]
    upload = plan(client, in_parts=True)
    assert put(upload["parts"][0]).status_code == 200

    async def lose(context: Context) -> None:
        record = await context.database.read(direct_uploads.find, upload["upload_id"])
        assert record is not None
        await context.database.write(direct_uploads.remove, record)

    left = plan(client, in_parts=True)
    served.do(lose)
    later = time.time() + 2 * DAY
    object.__setattr__(served.context, "clock", lambda: later)
    served.do(direct.expire_due)
    assert put(left["parts"][0]).is_error
    assert served.do(removal.remove_orphans) == 1
    assert put(upload["parts"][0]).is_error
    object.__setattr__(served.context, "clock", time.time)
    assert client.get(f"/v1/artifacts/{artifact_id}").content == b"retained"


def test_a_miner_stores_outputs_only_under_its_lease(served: Served, client: httpx.Client) -> None:
    miner = ScriptedMiner(served.url)
    assert miner.register().status_code == 200
    job_id = submit(client)
    (lease,) = miner.poll()
    peer = httpx.Client(base_url=served.url, headers=miner.http.headers, timeout=120)
    body = {
        "size": len(DATA),
        "sha256": SHA256,
        "media_type": "image/png",
        "job_id": job_id,
        "fence": lease["fence"],
    }
    assert (
        peer.post(PLANS, json={**body, "fence": lease["fence"] + 1}).json()["error"]["code"] == "STALE_LEASE"
    )
    assert peer.post(PLANS, json={"size": 1}).status_code == 422
    upload = peer.post(PLANS, json=body).raise_for_status().json()
    stored = report(peer, upload, put(upload["parts"][0])).json()["artifact"]
    assert stored["artifact_id"] == ARTIFACT
    assert client.get(f"/v1/artifacts/{ARTIFACT}").status_code == 404  # the result is still to come
    url = f"/v1/artifacts/{ARTIFACT}"
    results = {
        "text": "hello",
        "units": 1,
        "processing_time": 0.5,
        "files": [{**stored, "name": "a.png", "url": url}],
    }
    assert miner.complete(lease, results).status_code == 200
    assert client.get(url).content == DATA


def test_the_dashboards_scripts_may_connect_to_the_bucket(
    served: Served, client: httpx.Client, s3: S3Server
) -> None:
    """With a CORS rule on the bucket, the page then sends large files there."""
    policy = client.get("/dashboard/").headers["content-security-policy"]
    assert f"connect-src {s3.url} 'self'" in policy
    assert policy.count(s3.url) == 1


def test_a_coordinator_with_a_directory_offers_none(tmp_path: Path) -> None:
    with serve(tmp_path / "plain") as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        assert client.get(PLANS).json() == {"direct": False, "max_whole": 0}
        assert client.post(PLANS, json={"size": 1}).status_code == 404
        artifact_id = client.post("/v1/artifacts", content=b"x").json()["artifact_id"]
        assert client.get(f"/v1/artifacts/{artifact_id}?redirect=true").content == b"x"
