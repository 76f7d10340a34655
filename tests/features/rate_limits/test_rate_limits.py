"""Budgets per key and per address: refusals, headers, and callers who are not affected."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.clients.miner_socket import Socket
from support.clients.scripted_miner import ScriptedMiner
from support.features import is_installed
from support.jobs import job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 1.5, "processing_time": 0.5}
LIMIT_SECONDS = 180


@contextmanager
def limited(tmp_path: Path, proxies: tuple[str, ...] = (), **rates: Any) -> Iterator[Served]:
    """A coordinator that counts calls from this machine like any others."""
    limits = {"unlimited": [], **rates}
    with serve(tmp_path / "data", open_enrolment=True, rate_limits=limits, trusted_proxies=proxies) as served:
        yield served


def keyed(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {key}"})


def refusal(answer: httpx.Response, policy: str) -> dict[str, Any]:
    """The error of a refused call, after checking that headers and body agree."""
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert error["code"] == "RATE_LIMIT_EXCEEDED"
    assert error["request_id"] == answer.headers["x-request-id"]
    details = error["details"]
    assert details["policy"] == policy
    assert answer.headers["retry-after"] == str(details["retry_after"])
    assert answer.headers["ratelimit-policy"].endswith(
        f'"{policy}";q={details["limit"]};w={details["window_seconds"]}'
    )
    assert answer.headers["ratelimit"].endswith(f'"{policy}";r=0;t={details["retry_after"]}')
    assert 1 <= details["retry_after"] <= details["window_seconds"]
    assert f"Try again in {details['retry_after']} s" in error["message"]
    return error


def exhaust(miner: ScriptedMiner) -> None:
    """Make calls until the miner's budget is used up."""
    while upload(miner).status_code != 429:
        pass


def upload(miner: ScriptedMiner) -> httpx.Response:
    return miner.store(b"output")


def heartbeat(miner: ScriptedMiner, lease: dict[str, Any]) -> httpx.Response:
    held = {"job_id": lease["job_id"], "fence": lease["fence"], "progress": 1, "units": "0"}
    return miner.http.post("/heartbeat", json={"leases": [held], "gpus": []})


def eventually(call: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer other than 429."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (answer := call()).status_code == 429:
        assert time.monotonic() < deadline, "the limit never ended"
    return answer


def test_each_key_has_a_budget_and_answers_state_the_rest(tmp_path: Path) -> None:
    with limited(tmp_path, client="3 per hour") as served:
        client, other = keyed(served, served.client_key), keyed(served, served.other_key)
        for left in (2, 1, 0):
            answer = client.get("/v1/jobs")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"client";q=3;w=3600'
            assert re.fullmatch(rf'"client";r={left};t=(3600|3599|3598)', answer.headers["ratelimit"])
        assert "webhook_url" in refusal(client.get("/v1/jobs"), "client")["message"]
        refusal(client.get("/api/v1/registry/services"), "client")
        assert other.get("/v1/jobs").status_code == 200
        assert client.get("/v1/health").status_code == 200
        assert "ratelimit" not in client.get("/v1/health").headers


def test_the_budget_is_available_again_after_retry_after(tmp_path: Path) -> None:
    with limited(tmp_path, client="2 per second") as served:
        client = keyed(served, served.client_key)
        began = time.monotonic()
        while (answer := client.get("/v1/jobs")).status_code == 200:
            assert time.monotonic() < began + LIMIT_SECONDS
        assert refusal(answer, "client")["details"]["retry_after"] == 1
        assert eventually(lambda: client.get("/v1/jobs")).headers["ratelimit"] == '"client";r=1;t=1'


def test_calls_without_a_key_count_per_address_and_per_kind(tmp_path: Path) -> None:
    rates = {"address": "2 per hour", "joining": "1 per hour", "checking": "1 per hour"}
    with limited(tmp_path, **rates) as served:
        anonymous = httpx.Client(base_url=served.url)
        for _ in range(2):
            assert anonymous.get("/v1/registry/services").status_code == 200
        refusal(anonymous.get("/v1/registry/services"), "address")
        refusal(anonymous.get("/v1/jobs"), "address")  # not 401: the address is out of calls
        assert anonymous.post("/v1/receipts/verify", json={"receipt": {}}).status_code == 200
        refusal(anonymous.post("/v1/receipts/verify", json={"receipt": {}}), "checking")
        assert anonymous.post("/v1/miners/challenge", json={}).status_code == 200
        refusal(anonymous.post("/v1/miners/register", json={}), "joining")
        assert keyed(served, served.client_key).get("/v1/jobs").status_code == 200


def test_invalid_keys_have_no_budget_of_their_own_and_are_soon_refused(tmp_path: Path) -> None:
    """Recently valid keys are still accepted, so no caller can lock out another at the same address."""
    with limited(tmp_path, failures="3 per hour") as served:
        client = keyed(served, served.client_key)
        assert client.get("/v1/jobs").status_code == 200
        for number in range(3):
            answer = keyed(served, f"guess {number}").get("/v1/jobs")
            assert answer.status_code == 401
            assert answer.headers["ratelimit"].startswith(f'"failures";r={2 - number};')
        refusal(keyed(served, "guess").get("/v1/jobs"), "failures")
        refusal(keyed(served, "guess").get("/v1/registry/services"), "failures")
        refusal(keyed(served, served.other_key).get("/v1/jobs"), "failures")  # may be the next guess
        assert client.get("/v1/jobs").status_code == 200
        assert httpx.get(f"{served.url}/v1/registry/services").status_code == 200


@pytest.mark.parametrize("proxies", [(), ("192.0.2.0/24",)], ids=["no proxy", "another proxy"])
def test_a_forwarded_address_is_trusted_only_from_configured_proxies(
    tmp_path: Path, proxies: tuple[str, ...]
) -> None:
    with limited(tmp_path, proxies, address="2 per hour") as served:
        for number in range(3):
            headers = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
            answer = httpx.get(f"{served.url}/v1/registry/services", headers=headers)
        refusal(answer, "address")


def test_behind_a_trusted_proxy_the_address_is_that_of_the_proxys_client(tmp_path: Path) -> None:
    """Not an address that the client itself added to the header."""

    def get(forwarded: str) -> httpx.Response:
        return httpx.get(f"{served.url}/v1/registry/services", headers={"X-Forwarded-For": forwarded})

    with limited(tmp_path, ("127.0.0.1",), address="2 per hour") as served:
        for number in range(2):
            assert get(f"203.0.113.{number}, 198.51.100.1").status_code == 200
        refusal(get("203.0.113.9, 198.51.100.1"), "address")
        assert get("198.51.100.2").status_code == 200


def test_calls_from_this_machine_are_not_counted_unless_forwarded(tmp_path: Path) -> None:
    with serve(tmp_path / "data", rate_limits={"client": "1 per hour", "address": "3 per hour"}) as served:
        client = keyed(served, served.client_key)
        for _ in range(5):
            answer = client.get("/v1/jobs")
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers
        forwarded = {"X-Forwarded-For": "198.51.100.1"}
        assert client.get("/v1/jobs", headers=forwarded).status_code == 200
        refusal(client.get("/v1/jobs", headers=forwarded), "client")
        for _ in range(3):
            httpx.get(f"{served.url}/v1/registry/services")
        refusal(httpx.get(f"{served.url}/v1/registry/services"), "address")


def test_uploads_have_a_second_budget(tmp_path: Path) -> None:
    with limited(tmp_path, uploads="1 per hour") as served:
        client = keyed(served, served.client_key)
        answer = client.post("/v1/artifacts", content=b"one")
        assert answer.status_code == 201
        assert answer.headers["ratelimit"].startswith('"client";r=999;t=10, "uploads";r=0;t=3')
        refusal(client.post("/v1/artifacts", content=b"two" * 10**6), "uploads")
        if is_installed("tus"):
            answer = client.post("/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "3"})
            refusal(answer, "uploads")
            assert answer.headers["tus-resumable"] == "1.0.0"
        assert client.get("/v1/jobs").status_code == 200


def test_a_miner_is_affected_neither_by_its_addresss_budget_nor_by_its_clients(tmp_path: Path) -> None:
    rates = {
        "address": "1 per hour",
        "joining": "2 per hour",
        "failures": "1 per hour",
        "connections": "1 per hour",
    }
    with limited(tmp_path, **rates) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        job_id = submit(keyed(served, served.client_key))
        while httpx.get(f"{served.url}/v1/registry/services").status_code != 429:
            pass
        while keyed(served, "guess").get("/v1/jobs").status_code != 429:
            pass
        (lease,) = miner.poll()
        assert lease["job_id"] == job_id
        assert miner.upload(b"output")["size"] == 6
        for _ in range(2):
            with Socket(miner) as socket:
                assert socket.call("heartbeat", body={"leases": [], "gpus": []})[0] == 200
        assert miner.complete(lease, RESULTS).status_code == 200


def test_a_miner_over_its_budget_loses_no_work(tmp_path: Path) -> None:
    """Renewing leases and delivering results is never refused; an output is accepted once the window has passed."""
    with limited(tmp_path, miner="8 per 2 seconds") as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        client = keyed(served, served.client_key)
        jobs = [submit(client) for _ in range(4)]
        leases = [lease for _ in jobs for lease in miner.poll()]
        progress = [{"kind": "progress", "data": {"progress": 5, "units": "0"}}]
        calls: list[Callable[[dict[str, Any]], httpx.Response]] = [
            lambda lease: heartbeat(miner, lease),
            lambda lease: miner.job(lease, "events", events=progress),
            lambda lease: miner.complete(lease, RESULTS),
            lambda lease: miner.job(lease, "fail", kind="retry", code="OUT_OF_MEMORY", message="full"),
            lambda lease: miner.job(lease, "release", reason="stopping"),
        ]
        for lease, call in zip([leases[0], leases[0], *leases[:3]], calls, strict=True):
            exhaust(miner)
            answer = call(lease)
            assert answer.is_success, answer.text
            assert "ratelimit" not in answer.headers
        exhaust(miner)
        refusal(upload(miner), "miner")
        assert eventually(lambda: upload(miner)).status_code == 201
        assert job(client, leases[0]["job_id"])["status"] == "completed"


def test_a_websocket_over_the_limit_is_refused_before_it_opens(tmp_path: Path) -> None:
    with limited(tmp_path, connections="1 per hour") as served:
        address = served.url.replace("http", "ws", 1) + "/v1/miners/session"
        with connect(address) as socket, pytest.raises(Exception, match="4401"):
            socket.recv(LIMIT_SECONDS)
        with pytest.raises(InvalidStatus) as caught, connect(address):
            pass
        answer = caught.value.response
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 3000
        assert b"RATE_LIMIT_EXCEEDED" in (answer.body or b"")


def test_the_error_of_a_full_queue_has_a_retry_after(tmp_path: Path) -> None:
    with serve(tmp_path / "data", max_jobs_per_account=1) as served:
        client = keyed(served, served.client_key)
        submit(client)
        answer = client.post(
            "/v1/services/whisper/transcribe", json={"audio_url": "https://example.com/a", "model": "base"}
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")


def test_limits_can_be_disabled(tmp_path: Path) -> None:
    with limited(tmp_path, enabled=False, address="1 per hour") as served:
        for _ in range(3):
            answer = httpx.get(f"{served.url}/v1/registry/services")
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


def test_refusals_are_counted_by_their_policy(tmp_path: Path) -> None:
    with (
        serve(tmp_path, rate_limits={"failures": "2 per hour"}) as served,
        httpx.Client(base_url=served.url) as http,
    ):
        for _ in range(5):
            http.get("/v1/wallet", headers={"X-API-Key": "wrong"})
        text = http.get("/metrics").text
    assert 'aitbc_coordinator_rate_limited_requests_total{policy="failures"} 3.0' in text


def test_without_limits_keys_are_checked_and_nothing_is_counted(tmp_path: Path) -> None:
    """Also the key of a body that is refused before it is read."""
    with limited(tmp_path, enabled=False, failures="1 per hour", client="1 per hour") as served:
        with keyed(served, "aitbc_client_wrong") as guesses:
            for _ in range(3):
                assert guesses.post("/v1/jobs", json={}).status_code == 401
                assert guesses.get("/v1/wallet").status_code == 401
        with keyed(served, served.client_key) as client:
            for _ in range(3):
                answer = client.get("/v1/wallet")
                assert answer.status_code == 200
                assert "ratelimit" not in answer.headers
