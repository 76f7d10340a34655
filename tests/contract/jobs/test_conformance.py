"""The examples of the API reference in one sequence, and every error code that it lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from websockets.sync.client import connect

from agent.coordinator.store.database import Connection
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.reference import assert_like, error_codes, example, service_body, stream_message
from support.server import Served, serve

MAX_JOBS = 3
FILES = {"model.py": b"def predict(input): return {}", "cat.jpeg": b"\xff\xd8\xff"}


def messages_until_cancelled(served: Served, key: str, job_id: str) -> list[dict[str, Any]]:
    """Return the messages of this key's stream until a job's cancellation."""
    messages: list[dict[str, Any]] = []
    address = served.url.replace("http://", "ws://") + "/ws?after=0"
    with connect(address, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        while not messages or (messages[-1]["data"].get("job_id"), messages[-1]["data"].get("status")) != (
            job_id,
            "cancelled",
        ):
            messages.append(json.loads(socket.recv(timeout=120)))
    return messages


class Story:
    """A client, a miner and its owner; each method continues where the last one ended."""

    def __init__(self, served: Served, admin: httpx.Client, prefix: str) -> None:
        self.served = served
        self.prefix = prefix
        self.miner = ScriptedMiner(served.url)
        self.owner = self._as(self.miner.register().json()["api_key"])
        self.key = self._funded_key(admin)
        self.client = self._as(self.key)

    def _as(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.served.url + self.prefix, headers=headers, timeout=120)

    def _funded_key(self, admin: httpx.Client) -> str:
        """Create an account with credit, as an operator, and return a key for it."""
        path = f"{self.prefix}/admin"
        account_id = admin.post(f"{path}/accounts", json={"name": "story"}).json()["account_id"]
        credit = admin.post(f"{path}/accounts/{account_id}/credit", json={"amount": "1.00"})
        assert credit.status_code == 201, credit.text
        request = {"role": "client", "name": "story", "account_id": account_id}
        key: str = admin.post(f"{path}/keys", json=request).json()["key"]
        return key

    def submit(self) -> str:
        request, shown = example("POST /v1/jobs")
        answer = self.client.post("/jobs", json=request)
        assert answer.status_code == 201, answer.text
        assert_like(answer.json(), shown)
        assert answer.json()["status"] == "submitted"
        job_id: str = answer.json()["job_id"]
        return job_id

    def offer(self) -> str:
        request, shown = example("POST /v1/marketplace/offers\n")
        answer = self.owner.post("/marketplace/offers", json=request)
        assert answer.status_code == 201, answer.text
        assert_like(answer.json(), shown)
        assert (answer.json()["miner_id"], answer.json()["status"]) == (self.miner.miner_id, "active")
        offer_id: str = answer.json()["offer_id"]

        (shown,) = example("GET /v1/marketplace/offers\n")
        listed = self.client.get("/marketplace/offers", params={"job_type": "image-classification"})
        assert_like(listed.json(), shown)
        assert [item["offer_id"] for item in listed.json()["offers"]] == [offer_id]
        return offer_id

    def accept(self, offer_id: str, job_id: str) -> None:
        request, shown = example("POST /v1/marketplace/offers/{offer_id}/accept")
        answer = self.client.post(
            f"/marketplace/offers/{offer_id}/accept", json={**request, "job_id": job_id}
        )
        assert answer.is_success, answer.text
        assert_like(answer.json(), shown)
        assert answer.json()["status"] == "pending"

    def run(self, job_id: str) -> None:
        """The example does not state where model.py and the JPEG are, so they are uploaded before the job can run."""
        for name, content in FILES.items():
            assert self.client.put(f"/jobs/{job_id}/files/{name}", content=content).status_code == 200
        (lease,) = self.miner.poll()
        assert lease["unit_price"] == "0.001"
        progress = {"kind": "progress", "data": {"progress": 75, "units": "0.5"}}
        assert self.miner.job(lease, "events", events=[progress]).status_code == 204
        (shown,) = example("GET /v1/jobs/{job_id}")
        running = self.client.get(f"/jobs/{job_id}").json()
        assert_like(running, shown)
        assert (running["status"], running["progress"]) == ("running", 75)
        assert running["miner_id"] == self.miner.miner_id

        (shown,) = example("GET /v1/jobs/{job_id}/results")
        assert self.miner.complete(lease, {**shown["results"], "units": 1.5}).status_code == 200
        results = self.client.get(f"/jobs/{job_id}/results").json()
        assert_like(results, shown)
        assert results["results"] == {**shown["results"], "units": 1.5}
        (shown,) = example("GET /v1/jobs\n")
        jobs = self.client.get("/jobs", params={"status": "completed", "type": "ai-inference"}).json()
        assert_like(jobs, shown)
        assert {"total": 1, "limit": 50, "offset": 0}.items() <= jobs.items()

    def verify(self, job_id: str) -> None:
        """The whole receipt and its short form verify without a key; the placeholder of the example does not."""
        (shown,) = example("GET /v1/receipts/{job_id}")
        receipt = self.client.get(f"/receipts/{job_id}").json()
        assert_like(receipt, shown)
        request, shown = example("POST /v1/receipts/verify")
        address = f"{self.served.url}{self.prefix}/receipts/verify"
        for form in ({name: receipt[name] for name in request["receipt"]}, receipt):
            verified = httpx.post(address, json={"receipt": form}).json()
            assert_like(verified, shown)
            assert all(verified[name] == shown[name] for name in shown if name != "verified_at")
        assert httpx.post(address, json=request).json()["valid"] is False

    def settle(self) -> None:
        """For 1.5 units at 0.001, the client pays what the miner earns, and the statistics include it."""
        assert self.client.get("/wallet").json()["balance"] == "0.9985"
        assert self.owner.get("/wallet").json()["balance"] == "0.0015"
        (shown,) = example("GET /v1/marketplace/stats")
        stats = self.client.get("/marketplace/stats").json()
        assert_like(stats, shown)
        assert stats.keys() == shown.keys()
        assert (stats["total_jobs"], stats["completed_jobs"], stats["total_volume"]) == (1, 1, "0.0015")
        (shown,) = example("GET /v1/miners/{miner_id}/stats")
        stats = self.client.get(f"/miners/{self.miner.miner_id}/stats").json()
        assert_like(stats, shown)
        assert (stats["total_jobs"], stats["success_rate"], stats["total_earned"]) == (1, 1.0, "0.0015")

    def cancel(self, job_id: str) -> None:
        """A second cancellation gives the same response."""
        (shown,) = example("DELETE /v1/jobs/{job_id}")
        answer = self.client.delete(f"/jobs/{job_id}")
        assert answer.status_code == 200
        assert_like(answer.json(), shown)
        assert answer.json()["status"] == "cancelled"
        assert self.client.delete(f"/jobs/{job_id}").json() == answer.json()


@pytest.mark.needs("offers")
@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_the_examples_of_the_reference_work_in_sequence(
    served: Served, admin: httpx.Client, prefix: str
) -> None:
    """Credit, create, offer, accept, run, results, receipt, verify, statistics, cancel: each response is like the example."""
    story = Story(served, admin, prefix)
    job_id = story.submit()
    offer_id = story.offer()
    story.accept(offer_id, job_id)
    story.run(job_id)
    story.verify(job_id)
    story.settle()
    cancelled_id = story.submit()
    story.cancel(cancelled_id)

    # The stream has every change in order.
    messages = messages_until_cancelled(served, story.key, cancelled_id)
    states = []
    for message in messages:
        if message["type"] == "job_update":
            assert_like(message, stream_message())
            if message["data"]["job_id"] == job_id:
                states.append(message["data"]["status"])
    assert list(dict.fromkeys(states)) == ["submitted", "running", "completed"]
    assert {message["type"] for message in messages} >= {
        "job_update",
        "marketplace_update",
        "receipt_created",
    }


@pytest.mark.parametrize("path", ["/v1/health", "/api/v1/health"])
def test_health_responds_like_the_example(served: Served, path: str) -> None:
    """No key is needed."""
    (shown,) = example("GET /v1/health")
    answer = httpx.get(f"{served.url}{path}")
    assert answer.status_code == 200
    assert_like(answer.json(), shown)
    assert (answer.json()["status"], answer.json()["services"]) == ("ok", shown["services"])


@pytest.mark.parametrize(
    "route",
    [
        "whisper/transcribe",
        "stable-diffusion/generate",
        "llm/inference",
        "ffmpeg/transcode",
        "blender/render",
    ],
)
def test_service_calls_accept_the_example_body(client: httpx.Client, route: str) -> None:
    """Each creates a job of its service, and validation of the same body finds no errors."""
    body = service_body(route)
    answer = client.post(f"/v1/services/{route}", json=body)
    assert answer.status_code == 201, answer.text
    _, created = example("POST /v1/jobs")
    assert_like(answer.json(), created)
    request = {"service_id": answer.json()["service_id"], "request_data": body}
    valid = client.post("/v1/registry/services/validate", json=request).json()
    assert (valid["valid"], valid["errors"]) == (True, [])


def test_validation_responds_like_the_example(served: Served) -> None:
    """This needs a miner with the model; without one, there is a warning."""
    request, shown = example("POST /v1/registry/services/validate")
    address = f"{served.url}/v1/registry/services/validate"
    answer = httpx.post(address, json=request)
    assert answer.status_code == 200
    assert answer.json()["valid"] is True
    assert answer.json()["warnings"]
    able = capabilities()
    able["services"][request["service_id"]]["models"] = [request["request_data"]["model"]]
    ScriptedMiner(served.url).register(capabilities=able).raise_for_status()
    assert httpx.post(address, json=request).json() == shown


# Every error code -----------------------------------------------------------------------------------------------------


class Provoked:
    """A coordinator in which each error code of the reference can be provoked, by a method of the code's name."""

    def __init__(self, served: Served, client: httpx.Client) -> None:
        self.served = served
        self.client = client

    def invalid_job_type(self) -> httpx.Response:
        return self.client.post("/v1/jobs", json={"type": "mind-reading"})

    def insufficient_balance(self) -> httpx.Response:
        return self.client.post("/v1/services/whisper/transcribe", json=self._whisper("9999999999"))

    def job_not_found(self) -> httpx.Response:
        return self.client.get("/v1/jobs/job_1234567890")

    def job_already_completed(self) -> httpx.Response:
        miner, _ = self._miner()
        job_id = submit(self.client)
        miner.complete(miner.poll()[0], {"text": "hello", "units": 1}).raise_for_status()
        return self.client.delete(f"/v1/jobs/{job_id}")

    def offer_not_available(self) -> httpx.Response:
        _, owner_key = self._miner()
        owner = {"X-API-Key": owner_key}
        request, _ = example("POST /v1/marketplace/offers\n")
        offers = f"{self.served.url}/v1/marketplace/offers"
        offer_id = httpx.post(offers, json=request, headers=owner).json()["offer_id"]
        httpx.delete(f"{offers}/{offer_id}", headers=owner).raise_for_status()
        request, _ = example("POST /v1/jobs")
        bid = {"job_id": self.client.post("/v1/jobs", json=request).json()["job_id"], "bid_price": "0.001"}
        return self.client.post(f"{offers}/{offer_id}/accept", json=bid)

    def rate_limit_exceeded(self) -> httpx.Response:
        for _ in range(MAX_JOBS):
            submit(self.client)
        return self.client.post("/v1/services/whisper/transcribe", json=self._whisper("0.1"))

    def internal_error(self) -> httpx.Response:
        """The database has lost a table."""

        def lose(connection: Connection) -> None:
            connection.execute(text("DROP TABLE results"))

        self.served.do(lambda context: context.database.write(lose))
        return self.client.get(f"/v1/jobs/{submit(self.client)}/results")

    def _whisper(self, max_cost: str) -> dict[str, Any]:
        return {**service_body("whisper/transcribe"), "pricing": {"max_cost": max_cost}}

    def _miner(self) -> tuple[ScriptedMiner, str]:
        miner = ScriptedMiner(self.served.url)
        return miner, miner.register().json()["api_key"]


def error_cases() -> list[Any]:
    """Return the error codes of the reference with their status, and with the feature that one of them needs."""
    return [
        pytest.param(code, status, marks=[pytest.mark.needs("offers")] if code.startswith("OFFER_") else [])
        for code, status in error_codes().items()
    ]


@pytest.mark.parametrize(("code", "status"), error_cases())
def test_every_error_code_of_the_reference_is_returned(tmp_path: Path, code: str, status: int) -> None:
    """The error has the common fields, the status of the reference, and a sentence as its message."""
    with (
        serve(tmp_path, open_enrolment=True, max_jobs_per_account=MAX_JOBS) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120) as client,
    ):
        answer = getattr(Provoked(served, client), code.lower())()
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error.keys() == {"code", "message", "details", "request_id"}
        assert error["code"] == code
        assert error["message"].endswith(".")
        assert ("retry-after" in answer.headers) == (status == httpx.codes.TOO_MANY_REQUESTS)


def test_every_error_code_of_the_reference_is_covered() -> None:
    """Without this test, a reference without error codes would leave the test above without cases."""
    provoked = {name.upper() for name in vars(Provoked) if not name.startswith("_")}
    assert set(error_codes()) == provoked
