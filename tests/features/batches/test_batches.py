"""Batches by OpenAI's client: what becomes of each line, in which state they end, and what they cost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import BadRequestError, ConflictError, OpenAI, UnprocessableEntityError
from openai.types import Batch

from agent.coordinator.features.batches import batches, store
from support.clients.answering import answering
from support.clients.openai_jobs import EMBEDDING, openai_of
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import LIMIT_SECONDS, Served, serve

REFUSED = (BadRequestError, UnprocessableEntityError)


def line(number: int, body: Mapping[str, Any] = {}, **changes: Any) -> dict[str, Any]:
    """Return a request for the vector of one text."""
    body = {"model": EMBEDDING, "input": [f"text {number}"], **body}
    url = "/v1/embeddings"
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body, **changes}


def begin(ai: OpenAI, lines: Iterable[Mapping[str, Any] | str], **changes: Any) -> Batch:
    """Upload the lines and create a batch."""
    content = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    file = ai.files.create(file=("requests.jsonl", content.encode()), purpose="batch")
    options = {"endpoint": "/v1/embeddings", "completion_window": "24h", **changes}
    return ai.batches.create(input_file_id=file.id, **options)


def until(ai: OpenAI, batch: Batch, holds: Callable[[Batch], object]) -> Batch:
    """Return the batch once this holds."""
    limit = time.monotonic() + LIMIT_SECONDS
    while not holds(batch):
        assert time.monotonic() < limit, batch
        time.sleep(0.05)
        batch = ai.batches.retrieve(batch.id)
    return batch


def ended(ai: OpenAI, batch: Batch) -> Batch:
    return until(ai, batch, lambda now: now.status in ("completed", "failed", "expired", "cancelled"))


def results(ai: OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    """Return the lines of a file of results by their `custom_id`, each of which it has once."""
    assert file_id is not None
    lines = [json.loads(line) for line in ai.files.content(file_id).text.splitlines()]
    assert max(Counter(line["custom_id"] for line in lines).values()) == 1
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in lines)
    return {line["custom_id"]: line for line in lines}


def test_each_line_gets_its_answer(ai: OpenAI, served: Served) -> None:
    """Answers in one file, errors in the other; a line that is refused stops no other."""
    lines = [line(number) for number in range(5)]
    lines.append(line(5, {"model": "no-such-model"}))
    with answering(served.url):
        batch = ended(ai, begin(ai, lines, metadata={"night": "first"}))
    counts = batch.request_counts
    assert counts is not None
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 6, 5, 1)
    assert (batch.metadata, batch.completion_window, batch.endpoint) == (
        {"night": "first"},
        "24h",
        "/v1/embeddings",
    )
    assert batch.in_progress_at
    assert batch.finalizing_at
    assert batch.completed_at
    output = results(ai, batch.output_file_id)
    assert set(output) == {f"request-{number}" for number in range(5)}
    response = output["request-3"]["response"]
    assert (response["status_code"], output["request-3"]["error"]) == (200, None)
    assert response["body"]["data"][0]["embedding"] == [0.6, 0.8]
    (error,) = results(ai, batch.error_file_id).values()
    assert (error["custom_id"], error["response"]["status_code"]) == ("request-5", 404)
    assert "no-such-model" in json.dumps(error["response"]["body"])
    file = ai.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    assert [listed.id for listed in ai.batches.list()] == [batch.id]


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([line(1), "{"], "invalid_json_line", 2),
        ([line(1), "", line(1)], "duplicate_custom_id", 3),
        ([line(1, url="/v1/chat/completions")], "mismatched_url", 1),
        ([line(1, method="GET")], "invalid_method", 1),
        ([line(1, custom_id=None)], "missing_required_parameter", 1),
        ([line(1, {"stream": True})], "invalid_request", 1),
        ([line(number) for number in range(4)], "too_many_lines", None),
        ([], "empty_file", None),
    ],
)  # fmt: skip
def test_a_file_with_an_error_runs_nothing(
    tmp_path: Path, lines: list[Any], code: str, number: int | None
) -> None:
    """The batch names the line."""
    with (
        serve(tmp_path / "data", open_enrolment=True, max_batch_lines=3) as served,
        openai_of(served) as ai,
    ):
        batch = ended(ai, begin(ai, lines))
        assert (batch.status, batch.output_file_id) == ("failed", None)
        assert batch.errors is not None
        assert batch.errors.data is not None
        (error,) = batch.errors.data
        assert (error.code, error.line) == (code, number)
        jobs = httpx.get(f"{served.url}/v1/jobs", headers={"X-API-Key": served.client_key}).json()
        assert jobs["total"] == 0


def test_unknown_endpoints_and_files_are_refused(ai: OpenAI, served: Served) -> None:
    with pytest.raises(REFUSED, match=r"must be one of .*/v1/chat/completions.*/v1/embeddings"):
        begin(ai, [line(1)], endpoint="/v1/jobs")
    other = ai.files.create(file=("notes.txt", b"{}"), purpose="user_data")
    with pytest.raises(REFUSED, match="purpose"):
        ai.batches.create(input_file_id=other.id, endpoint="/v1/embeddings", completion_window="24h")
    batch = begin(ai, [line(1)])
    headers = {"X-API-Key": served.other_key}
    for path in (
        f"batches/{batch.id}",
        f"files/{batch.input_file_id}",
        f"files/{batch.input_file_id}/content",
    ):
        assert httpx.get(f"{served.url}/v1/{path}", headers=headers).status_code == 404
    assert httpx.post(f"{served.url}/v1/batches/{batch.id}/cancel", headers=headers).status_code == 404


def test_a_cancelled_batch_has_the_answers_that_there_are(
    ai: OpenAI, client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """The jobs that wait are cancelled and cost nothing. The others have an error each, so that no line is lost."""
    with answering(served.url):
        lines = [
            *map(line, range(3)),
            *(line(n, {"miner_id": miner.miner_id, "wait": True}) for n in range(3, 6)),
        ]
        batch = until(
            ai, begin(ai, lines), lambda now: now.request_counts and now.request_counts.completed == 3
        )
        assert ai.batches.cancel(batch.id).status == "cancelling"
        batch = ended(ai, batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    assert set(results(ai, batch.output_file_id)) == {"request-0", "request-1", "request-2"}
    errors = results(ai, batch.error_file_id)
    assert {name: error["error"]["code"] for name, error in errors.items()} == {
        f"request-{number}": "batch_cancelled" for number in (3, 4, 5)
    }
    assert client.get("/v1/jobs", params={"status": "cancelled"}).json()["total"] == 3
    assert Decimal(client.get("/v1/wallet").json()["held"]) == 0
    with pytest.raises(ConflictError):
        ai.batches.cancel(ended(ai, begin(ai, ["{"])).id)


def test_a_batch_ends_after_its_window(
    ai: OpenAI, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a miner, none of its jobs ends in time; they are cancelled, and nothing is paid."""
    monkeypatch.setattr(batches, "WINDOW_SECONDS", 5.0)
    batch = ended(ai, begin(ai, map(line, range(3))))
    assert (batch.status, batch.output_file_id) == ("expired", None)
    errors = results(ai, batch.error_file_id)
    assert {error["error"]["code"] for error in errors.values()} == {"batch_expired"}
    assert len(errors) == 3
    wallet = client.get("/v1/wallet").json()
    assert (Decimal(wallet["balance"]), Decimal(wallet["held"])) == (1_000_000, 0)


def test_a_full_queue_refuses_no_line(tmp_path: Path) -> None:
    """The account may have two unfinished jobs, and the batch sends four lines at a time."""
    settings: dict[str, Any] = {"open_enrolment": True, "max_jobs_per_account": 2, "batch_jobs": 4}
    with serve(tmp_path / "data", **settings) as served, openai_of(served) as ai, answering(served.url):
        batch = ended(ai, begin(ai, map(line, range(6))))
        assert len(results(ai, batch.output_file_id)) == 6


def test_lines_wait_for_money_that_other_jobs_hold(ai: OpenAI, served: Served) -> None:
    """Each of these holds most of the balance until it ends. One that costs more than the balance has an error."""
    costly = {"pricing": {"max_cost": "900000"}}
    lines = [*(line(number, costly) for number in range(3)), line(3, {"pricing": {"max_cost": "2000000"}})]
    with answering(served.url):
        batch = ended(ai, begin(ai, lines))
    assert set(results(ai, batch.output_file_id)) == {"request-0", "request-1", "request-2"}
    errors = results(ai, batch.error_file_id)
    assert [(name, error["response"]["status_code"]) for name, error in errors.items()] == [
        ("request-3", 402)
    ]


def test_a_line_costs_the_share_to_which_its_miner_agrees(
    ai: OpenAI, client: httpx.Client, served: Served
) -> None:
    """By default half of the price; all of it if the miner asks for that. Jobs that are no lines of a batch cost all."""
    paid = []
    for features in ({"batch_price": 0.5}, {"batch_price": 0.8}, {}):
        with answering(served.url, **features) as miner:
            before = Decimal(client.get("/v1/wallet").json()["balance"])
            assert ended(ai, begin(ai, [line(1)])).status == "completed"
            (lease,) = miner.leases
            paid.append((lease["unit_price"], before - Decimal(client.get("/v1/wallet").json()["balance"])))
            ai.embeddings.create(model=EMBEDDING, input=["at once"])
            assert miner.leases[-1]["unit_price"] == "0.001"
            # What the miner signed is what the client paid.
            receipt = client.get(f"/v1/receipts/{lease['job_id']}").raise_for_status()
            assert receipt.status_code == 200
        miner.miner.http.close()
    assert paid == [("0.0005", Decimal("0.0015")), ("0.0008", Decimal("0.0024")), ("0.001", Decimal("0.003"))]


def test_lines_come_after_jobs_for_which_somebody_waits(
    ai: OpenAI, client: httpx.Client, served: Served
) -> None:
    batch = begin(ai, map(line, range(3)))
    until(ai, batch, lambda _: client.get("/v1/jobs").json()["total"] == 3)
    body = {"model": EMBEDDING, "input": ["at once"]}
    job = {"type": "text_embedding", "parameters": body}
    assert client.post("/v1/jobs", json=job).is_success
    miner = ScriptedMiner(served.url)
    offered = capabilities()
    offered["services"]["text_embedding"]["models"] = [EMBEDDING]
    assert miner.register(capabilities=offered).status_code == 200
    (lease,) = miner.poll(slots=1)
    assert lease["spec"]["parameters"]["input"] == ["at once"]


def test_another_worker_goes_on(ai: OpenAI, client: httpx.Client, served: Served) -> None:
    """The first one writes nothing any more. Each line runs once."""
    batch = begin(ai, map(line, range(6)))
    until(ai, batch, lambda _: client.get("/v1/jobs").json()["total"] == 6)
    former = served.do(lambda context: context.database.read(store.find_batch, batch.id))
    served.do(lambda context: context.database.write(store.take, batch.id))
    with pytest.raises(store.TakenOver):
        served.do(lambda context: context.database.write(store.own, former))
    with answering(served.url) as miner:
        batch = ended(ai, batch)
        assert sorted(miner.texts) == [f"text {number}" for number in range(6)]
    assert len(results(ai, batch.output_file_id)) == 6


def test_a_batch_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Also if its file was deleted meanwhile."""
    with serve(tmp_path / "data", open_enrolment=True) as served, openai_of(served) as ai:
        batch = begin(ai, map(line, range(4)))
        until(ai, batch, lambda now: now.status == "in_progress")
        ai.files.delete(batch.input_file_id)
        key = served.client_key
    with serve(tmp_path / "data", open_enrolment=True) as served, answering(served.url) as miner:
        served.client_key = key
        with openai_of(served) as ai:
            batch = ended(ai, batch)
            assert len(results(ai, batch.output_file_id)) == 4
            assert len(miner.leases) == 4


def test_a_repeated_request_creates_one_batch(client: httpx.Client, ai: OpenAI) -> None:
    file = ai.files.create(file=("requests.jsonl", b"{"), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    first, second = (
        client.post("/v1/batches", json=body, headers={"Idempotency-Key": "one"}).json() for _ in range(2)
    )
    assert first["id"] == second["id"]
    changed = client.post(
        "/v1/batches", json=body | {"metadata": {"a": "b"}}, headers={"Idempotency-Key": "one"}
    )
    assert changed.status_code == 409
