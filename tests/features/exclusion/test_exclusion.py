"""Exclusion of a miner by an operator: immediate, and in force until the operator includes the miner again."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agent.coordinator.features.enrolments import enrolments
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 1}


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def exclude(admin: httpx.Client, miner: ScriptedMiner, reason: str = "") -> dict[str, object]:
    answer = admin.post(f"/v1/admin/miners/{miner.miner_id}/exclude", json={"reason": reason})
    answer.raise_for_status()
    value: dict[str, object] = answer.json()
    return value


def test_an_excluded_miner_is_cut_off_immediately(
    client: httpx.Client, admin: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """All its calls and registrations are refused, and its job goes to another miner without the loss of an attempt."""
    job_id = submit(client, max_attempts=1)
    lease = miner.poll()[0]
    assert exclude(admin, miner, "It lies.")["requeued_jobs"] == 1
    assert job(client, job_id)["status"] == "submitted"
    for answer in (
        miner.http.post("/poll", json={"slots": 1, "wait": 0}),
        miner.http.post("/heartbeat", json={"leases": [], "gpus": []}),
        miner.complete(lease, RESULTS),
        miner.register(),
    ):
        assert error(answer) == (403, "MINER_EXCLUDED")
        assert "It lies." in answer.json()["error"]["message"]
    other = ScriptedMiner(served.url)
    other.register()
    again = other.poll()[0]
    assert (again["job_id"], again["attempt"]) == (job_id, 1)
    assert other.complete(again, RESULTS).status_code == 200


def test_connections_of_an_excluded_miner_are_closed(
    admin: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """A waiting poll gets an error, and an open WebSocket is closed with code 4403."""
    answers: list[httpx.Response] = []
    body = {"slots": 1, "wait": 20}
    waiting = threading.Thread(target=lambda: answers.append(miner.http.post("/poll", json=body)))
    waiting.start()
    other = ScriptedMiner(served.url)
    other.register()
    url = served.url.replace("http", "ws") + "/v1/miners/session"
    headers = {"Authorization": other.http.headers["Authorization"]}
    with connect(url, additional_headers=headers) as socket:
        while not (
            served.context.dispatcher.connected(miner.miner_id)
            and served.context.dispatcher.connected(other.miner_id)
        ):
            waiting.join(0.01)
        exclude(admin, miner)
        exclude(admin, other)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=300)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    waiting.join(300)
    assert error(answers[0]) == (403, "MINER_EXCLUDED")
    with connect(url, additional_headers=headers) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=300)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


def test_an_included_miner_can_register_again(admin: httpx.Client, miner: ScriptedMiner) -> None:
    exclude(admin, miner, "By mistake.")
    shown = admin.get("/v1/admin/overview").json()["miners"][0]
    assert (shown["excluded_reason"], shown["excluded_at"] is None) == ("By mistake.", False)
    admin.post(f"/v1/admin/miners/{miner.miner_id}/include").raise_for_status()
    assert admin.get("/v1/admin/overview").json()["miners"][0]["excluded_at"] is None
    assert miner.register().status_code == 200


def test_only_administrators_exclude_miners_and_only_known_ones(
    client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    assert error(client.post(f"/v1/admin/miners/{miner.miner_id}/exclude")) == (403, "FORBIDDEN")
    assert error(admin.post(f"/v1/admin/miners/miner_{'a' * 26}/exclude")) == (404, "NOT_FOUND")
    assert error(admin.post(f"/v1/admin/miners/miner_{'a' * 26}/include")) == (404, "NOT_FOUND")


def test_a_revoked_key_of_a_miner_ends_its_session(
    client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    """The miner registers again with its own key and retains its leases."""
    job_id = submit(client)
    lease = miner.poll()[0]
    keys = admin.get("/v1/admin/keys").json()["keys"]
    key_id = next(key["key_id"] for key in keys if key.get("miner_id") == miner.miner_id)
    admin.delete(f"/v1/admin/keys/{key_id}").raise_for_status()
    assert error(miner.http.post("/poll", json={"slots": 1, "wait": 0})) == (401, "UNAUTHORIZED")
    answer = miner.register(holding=[{"job_id": job_id, "fence": lease["fence"]}])
    assert answer.json()["keep"] == [{"job_id": job_id, "fence": lease["fence"]}]
    assert miner.complete(lease, RESULTS).status_code == 200


def test_only_the_miner_learns_whether_it_is_enrolled(tmp_path: Path) -> None:
    """A stranger who sends the id or the public key of an enrolled miner gets the response for an unknown one."""
    with serve(tmp_path / "data") as served:
        token = served.do(
            lambda context: enrolments.create(context, uses=1, valid_seconds=60)
        ).enrolment_token
        miner, stranger = ScriptedMiner(served.url), ScriptedMiner(served.url)
        assert miner.register(enrolment_token=token).status_code == 200

        def admission(**body: object) -> httpx.Response:
            return httpx.post(f"{served.url}/v1/miners/admission", json=body)

        unknown = admission(enrolment_token=None).json()
        assert unknown["admitted"] is False
        assert admission(miner_id=miner.miner_id).json() == unknown
        signed = miner.registration_body()
        proof = {name: signed[name] for name in ("nonce", "public_key", "signature")}
        forged = {**proof, "signature": stranger.registration_body()["signature"]}
        assert error(admission(proof=forged)) == (401, "UNAUTHORIZED")
        assert admission(proof=proof).json() == {"admitted": True, "reason": None}
        assert error(admission(proof=proof)) == (401, "UNAUTHORIZED")
