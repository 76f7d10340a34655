"""Payment for runs without a result: the party that caused it pays for the metered units."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from agent.coordinator.features.log import store as log_store
from agent.coordinator.operations.miners import leases
from agent.coordinator.store import ledger
from agent.core.jobs import DEADLINE_GRACE_SECONDS
from agent.core.values.quantities import format_time
from aitbc.leaves.settlement import parse_settlement
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import job, submit
from support.server import Served

PRICE = Decimal("0.001")


def balance(client: httpx.Client) -> Decimal:
    return Decimal(client.get("/v1/wallet").raise_for_status().json()["balance"])


def beat(miner: ScriptedMiner, lease: dict[str, Any], **fields: Any) -> str:
    reported = {"job_id": lease["job_id"], "fence": lease["fence"], "progress": 40, **fields}
    answer = miner.http.post("/heartbeat", json={"leases": [reported], "gpus": []}).raise_for_status()
    status: str = answer.json()["leases"][0]["status"]
    return status


@contextmanager
def later(served: Served, seconds: float) -> Iterator[None]:
    """Set the coordinator's clock for requests forward."""
    context = served.context
    before: Callable[[], float] = context.clock
    object.__setattr__(context, "clock", lambda: time.time() + seconds)
    try:
        yield
    finally:
        object.__setattr__(context, "clock", before)


def fail(miner: ScriptedMiner, lease: dict[str, Any], kind: str, **more: Any) -> None:
    failure = {"kind": kind, "code": "DEADLINE_EXCEEDED", "message": "The job ran too long.", **more}
    miner.job(lease, "fail", **failure).raise_for_status()


def test_a_run_that_the_clients_limits_end_is_paid_per_unit(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Work before a timeout is paid; the job, the wallet and the ledger agree."""
    before = balance(client)
    job_id = submit(client, pricing={"max_cost": "0.5"})
    fail(miner, miner.poll()[0], "fail", units="80")
    assert balance(client) == before - 80 * PRICE
    failed = job(client, job_id)
    assert (failed["status"], failed["cost"]) == ("failed", "0.08")
    transactions = client.get("/v1/wallet/transactions").json()["transactions"]
    paid = next(item for item in transactions if item.get("job_id") == job_id)
    assert (paid["status"], paid["amount"], paid["refunded"]) == ("settled", "0.08", "0.42")
    assert paid["miner_id"] == miner.miner_id
    assert served.do(lambda context: context.database.read(ledger.problems)) == []


def test_the_payment_for_a_failure_is_at_most_max_cost(client: httpx.Client, miner: ScriptedMiner) -> None:
    before = balance(client)
    submit(client, pricing={"max_cost": "0.5"})
    fail(miner, miner.poll()[0], "fail", units="999999999")
    assert balance(client) == before - Decimal("0.5")


def test_a_machine_fault_costs_nothing(client: httpx.Client, miner: ScriptedMiner) -> None:
    before = balance(client)
    job_id = submit(client, pricing={"max_cost": "0.5"}, max_attempts=1)
    fail(miner, miner.poll()[0], "retry", units="80")
    assert job(client, job_id)["cost"] == "0"
    assert balance(client) == before


def test_a_failure_without_units_is_paid_by_the_last_reported_units(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    """A heartbeat or an event without units leaves them unchanged."""
    before = balance(client)
    submit(client, pricing={"max_cost": "0.5"})
    lease = miner.poll()[0]
    assert beat(miner, lease, units="30") == "renewed"
    assert beat(miner, lease) == "renewed"
    events = [{"kind": "progress", "data": {"progress": 50}}]
    miner.job(lease, "events", events=events).raise_for_status()
    fail(miner, lease, "fail")
    assert balance(client) == before - 30 * PRICE


def test_slot_seconds_cannot_exceed_the_elapsed_time(client: httpx.Client, miner: ScriptedMiner) -> None:
    """If the unit is time, a miner that invents a failure is paid for no more than the elapsed time."""
    before = balance(client)
    model = {"type": "python", "entrypoint": "model.py", "source": {"inline": "def predict(input): ..."}}
    body = {"type": "ai-inference", "model": model, "pricing": {"max_cost": "1"}}
    client.post("/v1/jobs", json=body).raise_for_status()
    fail(miner, miner.poll()[0], "fail", units="900")
    assert before - balance(client) < 60 * PRICE


def test_a_late_failure_is_paid_like_a_timely_one(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    before = balance(client)
    job_id = submit(client, pricing={"max_cost": "0.5"}, timeout_seconds=600)
    lease = miner.poll()[0]
    with later(served, 61):
        assert served.do(leases.expire_due) == 1
        assert job(client, job_id)["status"] == "submitted"
        fail(miner, lease, "fail", units="10")
    assert job(client, job_id)["status"] == "failed"
    assert balance(client) == before - 10 * PRICE


def test_registering_again_does_not_extend_a_job_beyond_its_deadline(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """Units reported after the deadline do not count: a later cancellation costs the work until the deadline."""
    before = balance(client)
    job_id = submit(client, timeout_seconds=1, pricing={"max_cost": "0.5"})
    lease = miner.poll()[0]
    assert beat(miner, lease, units="1") == "renewed"
    held = [{"job_id": job_id, "fence": lease["fence"]}]
    with later(served, 1 + DEADLINE_GRACE_SECONDS + 40):
        # The lease of the claim lasts its minute, and nothing extends it.
        miner.register(holding=held)
        beat(miner, lease, units="400")
        miner.job(lease, "events", events=[{"kind": "progress", "data": {"progress": 9, "units": "400"}}])
        served.do(leases.expire_due)
        miner.register(holding=held)
        assert job(client, job_id)["status"] == "submitted"
        assert beat(miner, lease, units="400") == "lost"
        assert job(client, job_id)["status"] == "submitted"
        other = ScriptedMiner(served.url)
        other.register()
        (again,) = other.poll()
        assert again["job_id"] == job_id
    client.delete(f"/v1/jobs/{job_id}").raise_for_status()
    assert balance(client) >= before - PRICE


def test_units_after_the_deadline_do_not_count_for_a_cancellation(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    before = balance(client)
    job_id = submit(client, timeout_seconds=1, pricing={"max_cost": "0.5"})
    lease = miner.poll()[0]
    beat(miner, lease, units="1")
    with later(served, 1 + DEADLINE_GRACE_SECONDS + 1):
        beat(miner, lease, units="400")
        miner.job(lease, "events", events=[{"kind": "progress", "data": {"progress": 9, "units": "400"}}])
        client.delete(f"/v1/jobs/{job_id}").raise_for_status()
    assert balance(client) == before - PRICE


def test_the_log_contains_the_payment_for_a_failure(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    job_id = submit(client, pricing={"max_cost": "0.5"})
    fail(miner, miner.poll()[0], "fail", units="80")
    ((_, leaf),) = served.do(
        lambda context: context.database.read(lambda connection: list(log_store.closed_payments(connection)))
    )
    settlement = parse_settlement((leaf or "").encode())
    assert (settlement.job_id, settlement.outcome, settlement.receipt_id) == (job_id, "failed", None)
    assert (settlement.paid, settlement.miner_id) == (Decimal("0.08"), miner.miner_id)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("started_at", {"started_at": "2020-01-01T00:00:00Z"}),
        ("finished_at", {"started_at": "2099-01-01T00:00:00Z", "finished_at": "2099-01-01T00:00:03Z"}),
        ("finished_at", {"finished_at": "2020-01-01T00:00:00Z"}),
        ("runner", {"runner_name": "another"}),
        ("runner", {"runner_version": "2"}),
    ],
)
def test_times_and_runner_of_a_statement_must_match_the_run(
    client: httpx.Client, miner: ScriptedMiner, field: str, change: dict[str, str]
) -> None:
    """A run in another year, a run that ends before it starts, and a runner that the miner has not registered are refused."""
    submit(client)
    lease = miner.poll()[0]
    results = {"text": "hello", "units": 1}
    body = miner.result_body(lease, results, **change)
    answer = miner.http.post(f"/jobs/{lease['job_id']}/result", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["error"]["details"]["fields"]
    assert miner.complete(lease, results).status_code == 200


def test_a_statement_may_name_the_version_of_any_engine_of_the_service(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    several = capabilities()
    for service in several["services"].values():
        service["versions"] = ["1", "1+second"]
    miner.register(capabilities=several)
    assert miner.registration["engine_versions"]
    for version, status in (("1+third", 422), ("1+second", 200)):
        submit(client)
        lease = miner.poll()[0]
        body = miner.result_body(lease, {"text": "hello", "units": 1}, runner_version=version)
        assert miner.http.post(f"/jobs/{lease['job_id']}/result", json=body).status_code == status


def test_a_slightly_wrong_clock_and_an_upgrade_during_the_run_are_accepted(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    lease = miner.poll()[0]
    upgraded = capabilities()
    for service in upgraded["services"].values():
        service["version"] = "2"
    miner.register(capabilities=upgraded, holding=[{"job_id": job_id, "fence": lease["fence"]}])
    finished_at = format_time(time.time() + 200)
    body = miner.result_body(lease, {"text": "hello", "units": 1}, finished_at=finished_at)
    assert miner.http.post(f"/jobs/{job_id}/result", json=body).status_code == 200
