"""The reference's examples, read out of docs/reference.md and replayed as they are written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.scripted_miner import ScriptedMiner
from support.server import Served

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def example(heading: str) -> list[Any]:
    """The JSON values of the block whose comment names this call: the request, then the answers."""
    text = REFERENCE.read_text(encoding="utf-8")
    for block in re.findall(r"```jsonc\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^(?=// [A-Z]+ /)", block, flags=re.MULTILINE):
            if part.startswith(f"// {heading}"):
                return _values("\n".join(line for line in part.splitlines() if not line.startswith("//")))
    raise AssertionError(f"docs/reference.md has no example of {heading}")


def _values(text: str) -> list[Any]:
    decoder = json.JSONDecoder()
    values = []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def assert_like(answer: Any, shown: Any, where: str = "answer") -> None:
    """Every field of the example is there and of the same kind: times as times, ids with their prefix."""
    if isinstance(shown, dict):
        assert isinstance(answer, dict), f"{where} is no object: {answer!r}"
        for name, value in shown.items():
            assert name in answer, f"{where}.{name} is missing in {answer}"
            assert_like(answer[name], value, f"{where}.{name}")
    elif isinstance(shown, list):
        assert isinstance(answer, list), f"{where} is no list"
        assert answer or not shown, f"{where} is empty"
        for item in answer:
            assert_like(item, shown[0], f"{where}[]")
    elif isinstance(shown, str):
        assert isinstance(answer, str), f"{where} is no string: {answer!r}"
        if TIME.fullmatch(shown):
            assert TIME.fullmatch(answer), f"{where} is no time: {answer}"
        elif prefix := re.match(r"(job|miner|receipt|offer|tx)_", shown):
            assert answer.startswith(prefix[0]), f"{where} is {answer}"
    else:
        numbers = (int, float)
        same = isinstance(answer, numbers) and isinstance(shown, numbers) and not isinstance(shown, bool)
        assert same or type(answer) is type(shown), f"{where} is {answer!r}, shown is {shown!r}"


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_jobs_and_receipts_answer_as_the_reference_shows(
    client: httpx.Client, miner: ScriptedMiner, prefix: str
) -> None:
    """One job's life through every call of the sections Jobs and Receipts."""
    request, created = example("POST /v1/jobs")
    answer = client.post(f"{prefix}/jobs", json=request)
    assert answer.status_code == 201, answer.text
    assert_like(answer.json(), created)
    assert answer.json()["status"] == "submitted"
    job_id = answer.json()["job_id"]

    # The example says nothing of where model.py and the jpeg are: they are uploaded, then the job can run.
    for name, content in (("model.py", b"def predict(input): return {}"), ("cat.jpeg", b"\xff\xd8\xff")):
        assert client.put(f"{prefix}/jobs/{job_id}/files/{name}", content=content).status_code == 200
    (lease,) = miner.poll()
    progress = {"kind": "progress", "data": {"progress": 75, "units": "0.5"}}
    assert miner.job(lease, "events", events=[progress]).status_code == 204

    (running,) = example("GET /v1/jobs/{job_id}")
    answer = client.get(f"{prefix}/jobs/{job_id}")
    assert_like(answer.json(), running)
    assert (answer.json()["status"], answer.json()["progress"]) == ("running", 75)
    assert answer.json()["miner_id"] == miner.miner_id

    (shown,) = example("GET /v1/jobs/{job_id}/results")
    assert miner.complete(lease, {**shown["results"], "units": 1.5}).status_code == 200
    answer = client.get(f"{prefix}/jobs/{job_id}/results")
    assert answer.status_code == 200
    assert_like(answer.json(), shown)
    assert answer.json()["results"] == {**shown["results"], "units": 1.5}

    (listed,) = example("GET /v1/jobs\n")
    answer = client.get(f"{prefix}/jobs")
    assert_like(answer.json(), listed)
    assert {"total": 1, "limit": 50, "offset": 0}.items() <= answer.json().items()

    (receipt_shown,) = example("GET /v1/receipts/{job_id}")
    receipt = client.get(f"{prefix}/receipts/{job_id}").json()
    assert_like(receipt, receipt_shown)

    verify_request, verification = example("POST /v1/receipts/verify")
    short = {"receipt_id": receipt["receipt_id"], "signature": receipt["signature"]}
    assert short.keys() == verify_request["receipt"].keys()
    for form in (short, receipt):
        answer = httpx.post(f"{client.base_url}{prefix}/receipts/verify", json={"receipt": form})
        assert answer.status_code == 200
        assert_like(answer.json(), verification)
        assert answer.json()["valid"] is verification["valid"]
        assert answer.json()["coordinator_attestations"] == verification["coordinator_attestations"]
    answer = client.post(f"{prefix}/receipts/verify", json=verify_request)
    assert answer.status_code == 200
    assert answer.json()["valid"] is False


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_the_marketplace_answers_as_the_reference_shows(
    served: Served, client: httpx.Client, prefix: str
) -> None:
    """The section's own job and offer: offered, listed, accepted, run, paid, and in the statistics."""
    miner = ScriptedMiner(served.url)
    owner = httpx.Client(base_url=served.url, headers={"X-API-Key": miner.register().json()["api_key"]})
    offer, made = example("POST /v1/marketplace/offers")
    answer = owner.post(f"{prefix}/marketplace/offers", json=offer)
    assert answer.status_code == 201, answer.text
    assert_like(answer.json(), made)
    assert answer.json()["status"] == made["status"]
    offer_id = answer.json()["offer_id"]
    (shown,) = example("GET /v1/marketplace/offers")
    query = {"job_type": offer["job_type"], "max_price": offer["price"], "limit": 1}
    answer = client.get(f"{prefix}/marketplace/offers", params=query)
    assert_like(answer.json(), shown)
    assert [found["offer_id"] for found in answer.json()["offers"]] == [offer_id]

    request, _ = example("POST /v1/jobs")
    job_id = client.post(f"{prefix}/jobs", json=request).json()["job_id"]
    bid, pending = example("POST /v1/marketplace/offers/{offer_id}/accept")
    answer = client.post(f"{prefix}/marketplace/offers/{offer_id}/accept", json={**bid, "job_id": job_id})
    assert answer.status_code == 200, answer.text
    assert_like(answer.json(), pending)
    assert answer.json()["status"] == pending["status"]
    for name, content in (("model.py", b"def predict(input): return {}"), ("cat.jpeg", b"\xff\xd8\xff")):
        client.put(f"{prefix}/jobs/{job_id}/files/{name}", content=content)
    (lease,) = miner.poll()
    assert miner.complete(lease, {"prediction": "cat", "units": 1, "processing_time": 1.23}).is_success
    paid = client.get(f"{prefix}/wallet/transactions", params={"limit": 1}).json()["transactions"][0]
    assert (paid["transaction_id"], paid["status"]) == (answer.json()["transaction_id"], "settled")

    for path, heading in (
        ("marketplace/stats", "marketplace/stats"),
        (f"miners/{miner.miner_id}/stats", "miners/{miner_id}/stats"),
    ):
        (numbers,) = example(f"GET /v1/{heading}")
        answer = client.get(f"{prefix}/{path}")
        assert answer.status_code == 200
        assert_like(answer.json(), numbers)
    assert answer.json()["total_earned"] == "0.001"


def test_cancelling_answers_as_the_reference_shows(client: httpx.Client) -> None:
    """A submitted job is cancelled, and cancelling it again gives the same answer."""
    request, _ = example("POST /v1/jobs")
    job_id = client.post("/v1/jobs", json=request).json()["job_id"]
    (shown,) = example("DELETE /v1/jobs/{job_id}")
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200
    assert_like(answer.json(), shown)
    assert answer.json()["status"] == "cancelled"
    assert client.delete(f"/v1/jobs/{job_id}").json() == answer.json()


@pytest.mark.parametrize("path", ["/v1/health", "/api/v1/health"])
def test_health_answers_as_the_reference_shows(served: Served, path: str) -> None:
    """Open without a key."""
    (shown,) = example("GET /v1/health")
    answer = httpx.get(f"{served.url}{path}")
    assert answer.status_code == 200
    assert_like(answer.json(), shown)
    assert answer.json()["status"] == "ok"
    assert answer.json()["services"] == shown["services"]


@pytest.mark.parametrize("route", ["whisper/transcribe", "ffmpeg/transcode"])
def test_service_calls_take_the_body_that_the_reference_shows(client: httpx.Client, route: str) -> None:
    """Each creates a job of its kind."""
    text = REFERENCE.read_text(encoding="utf-8")
    found = re.search(rf"`POST /v1/services/{route}` \| `(.*?)` \|", text)
    assert found is not None
    answer = client.post(f"/v1/services/{route}", json=json.loads(found[1]))
    assert answer.status_code == 201, answer.text
    _, created = example("POST /v1/jobs")
    assert_like(answer.json(), created)
    assert answer.json()["service_id"] in ("whisper_transcription", "video_transcoding")
