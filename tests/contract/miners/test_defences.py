"""Protection of miners and clients against each other."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, text

from agent.coordinator.port import Port
from agent.coordinator.store import queue
from agent.core.errors import ConfigurationError
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import WHISPER, submit
from support.server import Served, serve

INLINE = {"type": "python", "entrypoint": "model.py", "source": {"inline": "def predict(input): return {}"}}
RESULTS = {"text": "hello", "units": 1.5, "processing_time": 0.5}


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_excessive_price_does_not_stop_dispatch(client: httpx.Client, served: Served) -> None:
    """It is refused at registration, and an honest miner gets the job."""
    overpriced = capabilities()
    for offer in overpriced["services"].values():
        offer["unit_price"] = "99999999999999"
    assert error(ScriptedMiner(served.url).register(capabilities=overpriced)) == (422, "VALIDATION_ERROR")
    job_id = submit(client)
    honest = ScriptedMiner(served.url)
    honest.register()
    assert [lease["job_id"] for lease in honest.poll()] == [job_id]


@pytest.fixture
def claim_window(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many jobs make a queue long."""
    monkeypatch.setattr(queue, "CLAIM_WINDOW", 16)
    return queue.CLAIM_WINDOW


def test_a_long_queue_that_no_miner_can_run_delays_no_other_job(tmp_path: Path, claim_window: int) -> None:
    """More urgent jobs than one claim reads wait for hardware that no miner has."""
    with serve(tmp_path / "data", open_enrolment=True) as served:
        busy = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        single = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
        for _ in range(claim_window):
            submit(busy, priority=9, resources={"gpu": "1000"})
        job_id = submit(single)
        miner = ScriptedMiner(served.url)
        miner.register()
        assert [lease["job_id"] for lease in miner.poll()] == [job_id]


def test_a_long_queue_for_an_unavailable_model_delays_no_other_job(tmp_path: Path, claim_window: int) -> None:
    """The jobs are of one client; a miner without a free slot gets jobs for its batch capacity."""
    with serve(tmp_path / "data", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        for _ in range(claim_window):
            submit(client, priority=9)
        first, second = submit(client, model="tiny.en"), submit(client, model="tiny.en")
        offered = capabilities()
        offered["services"]["whisper_transcription"]["unavailable_models"] = ["base"]
        miner = ScriptedMiner(served.url)
        miner.register(capabilities=offered)
        assert [lease["job_id"] for lease in miner.poll()] == [first]
        batched = ScriptedMiner(served.url)
        batched.register()
        batch_capacity = [{"service": "whisper_transcription", "model": "tiny.en", "free": 1}]
        assert [lease["job_id"] for lease in batched.poll(slots=0, batch_capacity=batch_capacity)] == [second]


def test_a_long_queue_of_one_client_leaves_others_their_share(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True) as served:
        busy = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        single = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
        for _ in range(queue.CLAIM_WINDOW):
            submit(busy)
        job_id = submit(single)
        miner = ScriptedMiner(served.url)
        miner.register()
        assert job_id in {lease["job_id"] for lease in miner.poll(slots=2)}


def test_a_miner_holds_a_limited_number_of_leases_per_slot(client: httpx.Client, served: Served) -> None:
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=capabilities(slots=1))
    for _ in range(40):
        submit(client)
    held = [lease for _ in range(5) for lease in miner.poll(slots=256, wait=0.5)]
    assert 1 <= len(held) <= 20


def test_capacity_announced_during_a_claim_is_used(client: httpx.Client, served: Served) -> None:
    """The job waits for one miner; that miner connects while the writer processes a claim for another."""
    other, requested = ScriptedMiner(served.url), ScriptedMiner(served.url)
    other.register()
    requested.register()
    job_id = submit(client, miner_id=requested.miner_id)
    entered, go_on = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        go_on.wait(60)

    polls: list[list[dict[str, Any]]] = []
    blocked = threading.Thread(target=lambda: served.do(lambda context: context.database.write(hold)))
    blocked.start()
    assert entered.wait(60)
    waiting = [
        threading.Thread(target=lambda miner=miner, wait=wait: polls.append(miner.poll(wait=wait)))
        for miner, wait in ((other, 1), (requested, 5))
    ]
    for thread in waiting:
        thread.start()
    go_on.set()
    for thread in (blocked, *waiting):
        thread.join(60)
    assert [lease["job_id"] for leases in polls for lease in leases] == [job_id]


def test_an_older_sessions_connection_does_not_displace_a_newer_one(
    served: Served, miner: ScriptedMiner
) -> None:
    closed: list[int] = []

    def port(session: int) -> Port:
        return Port(
            miner.miner_id,
            session,
            deliver=lambda _: True,
            cancelled=lambda *_: None,
            heartbeat=lambda: None,
            close=lambda _: closed.append(session),
            capabilities=capabilities(),
        )

    async def attach(context: Any) -> Any:
        newer, older = port(2), port(1)
        context.dispatcher.attach(newer)
        context.dispatcher.attach(older)
        present = context.dispatcher.connected(miner.miner_id)
        context.dispatcher.detach(newer)
        return present.session

    assert served.do(attach) == 2
    assert closed == [1]


def test_a_lease_that_was_lost_in_transit_costs_no_attempt(
    client: httpx.Client, served: Served, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The miner's heartbeat does not contain it, so the job waits again."""
    monkeypatch.setattr("agent.coordinator.operations.miners.heartbeats.ARRIVAL_SECONDS", 0.0)
    job_id = submit(client, max_attempts=1)
    miner.poll()
    assert miner.http.post("/heartbeat", json={"leases": []}).status_code == 200
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "submitted"
    (again,) = miner.poll()
    assert miner.complete(again, RESULTS).status_code == 200


def test_a_miner_without_the_lease_sends_no_events_to_the_client(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    submit(client)
    (lease,) = miner.poll()
    stranger = ScriptedMiner(served.url)
    stranger.register()
    event = {"kind": "segment", "data": {"text": "buy my coin"}}
    assert error(stranger.job(lease, "events", events=[event])) == (409, "STALE_LEASE")
    assert miner.job(lease, "events", events=[event]).status_code == 204


def test_a_failed_job_returns_to_the_same_miner_only_after_a_delay(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Thus a broken miner does not use up the attempts before a healthy miner polls."""
    job_id = submit(client, max_attempts=2)
    (lease,) = miner.poll()
    miner.job(lease, "fail", kind="retry", code="DISK_FULL", message="The disk is full.")
    assert miner.poll(wait=0.3) == []
    healthy = ScriptedMiner(served.url)
    healthy.register()
    assert [lease["job_id"] for lease in healthy.poll()] == [job_id]


def test_a_repetition_with_an_idempotency_key_gets_the_first_response(
    client: httpx.Client, served: Served
) -> None:
    headers = {"Idempotency-Key": "order-1"}
    for path, body in (
        ("/v1/services/whisper/transcribe", WHISPER),
        ("/v1/jobs", {"type": "ai-inference", "model": INLINE}),
    ):
        before = client.get("/v1/jobs").json()["total"]
        keyed = {"Idempotency-Key": f"order-{before}"}
        first, again = (client.post(path, json=body, headers=keyed) for _ in range(2))
        assert first.status_code == again.status_code == 201
        assert first.json() == again.json()
        assert client.get("/v1/jobs").json()["total"] == before + 1
        assert error(client.post(path, json={**body, "priority": 3}, headers=keyed)) == (409, "CONFLICT")
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert other.post("/v1/services/whisper/transcribe", json=WHISPER, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "part",
    [
        '"parameters": {"a": 1152921504606846976}',
        '"parameters": {"a": "\\ud800"}',
        '"parameters": {"\\ud800": 1}',
        '"parameters": {"a": NaN}',
        '"parameters": {"a": 1e999}',
        '"parameters": {"a": ' + "[" * 900 + "]" * 900 + "}",
        '"resources": {"memory": "999999999999999999Pi"}',
        '"resources": {"cpu": "999999999999999999"}',
        '"resources": {"gpu": "999999999999999k"}',
        '"pricing": {"max_cost": "99999999999"}',
        '"name": "\\ud800"',
    ],
)
def test_values_that_cannot_be_signed_or_stored_are_refused(client: httpx.Client, part: str) -> None:
    """They are neither changed nor a server error, and the connection remains open."""
    body = f'{{"type": "ai-inference", "model": {json.dumps(INLINE)}, {part}}}'
    for _ in range(2):
        answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert error(answer) == (422, "VALIDATION_ERROR"), answer.text


@pytest.mark.parametrize("units", ["abc", None, True, [1], {"a": 1}, "NaN", -1, "1e400"], ids=json.dumps)
def test_invalid_units_are_refused(client: httpx.Client, miner: ScriptedMiner, units: Any) -> None:
    submit(client)
    (lease,) = miner.poll()
    body = miner.result_body(lease, RESULTS)
    body["results"] = {**RESULTS, "units": units}
    assert error(miner.http.post(f"/jobs/{lease['job_id']}/result", json=body)) == (422, "RECEIPT_INVALID")


def test_two_files_of_a_job_may_have_the_same_content(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py"},
        "input": {"type": "text"},
    }
    job_id = client.post("/v1/jobs", json=body).json()["job_id"]
    for name in ("model.py", "input.txt"):
        assert client.put(f"/v1/jobs/{job_id}/files/{name}", content=b"same").status_code == 200
    assert [lease["job_id"] for lease in miner.poll()] == [job_id]


def test_a_refused_upload_leaves_no_file(client: httpx.Client, tmp_path: Path) -> None:
    job_id = client.post("/v1/jobs", json={"type": "ai-inference", "model": INLINE}).json()["job_id"]
    assert error(client.put(f"/v1/jobs/{job_id}/files/more.bin", content=b"x" * 1000)) == (409, "CONFLICT")
    root = tmp_path / "data/coordinator/artifacts"
    assert [path for path in root.rglob("*") if path.is_file() and path.parent != root] == []


def test_an_invalid_media_type_is_replaced(client: httpx.Client) -> None:
    for media_type in ("text/html; charset=\u00e9", "nonsense", "a/b\tc"):
        answer = client.post(
            "/v1/artifacts", content=b"x", headers={"Content-Type": media_type.encode("latin1")}
        )
        assert answer.json()["media_type"] == "application/octet-stream"
        assert client.get(f"/v1/artifacts/{answer.json()['artifact_id']}").status_code == 200


@pytest.mark.sqlite
def test_an_unwritable_database_is_an_error_until_it_is_repaired(served: Served) -> None:
    def break_it(connection: Connection) -> None:
        connection.execute(
            text("PRAGMA max_page_count=1")
        )  # SQLite raises it to the current count, as if the disk were full

    def mend_it(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count=1000000000"))

    served.do(lambda context: context.database.write(break_it))
    # The long timeout allows for logging the error with its causes, which takes seconds on a busy machine.
    client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=300)
    body = {"type": "ai-inference", "model": {**INLINE, "source": {"inline": "x" * 500_000}}}
    answer = client.post("/v1/jobs", json=body)
    assert error(answer) == (503, "SERVICE_UNAVAILABLE")
    assert "retry-after" in answer.headers
    assert client.get("/v1/health").json()["services"]["database"] in ("unhealthy", "healthy")
    served.do(lambda context: context.database.write(mend_it))
    assert client.post("/v1/jobs", json=body).status_code == 201
    assert client.get("/v1/health").json()["status"] == "ok"


def test_a_lost_log_key_is_not_replaced_silently(tmp_path: Path) -> None:
    """With a new key, no receipt would verify."""
    with serve(tmp_path / "data", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        submit(client)
        (lease,) = miner.poll()
        assert miner.complete(lease, RESULTS).status_code == 200
    (tmp_path / "data/coordinator/log.key").unlink()
    with pytest.raises(ConfigurationError, match="backup"), serve(tmp_path / "data"):
        pass


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data/coordinator").mkdir(parents=True)
    (tmp_path / "data/coordinator/coordinator.db").write_bytes(b"no database " * 1000)
    with pytest.raises(ConfigurationError, match="not a database"), serve(tmp_path / "data"):
        pass
