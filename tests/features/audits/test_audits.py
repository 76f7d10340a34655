"""Audits of scripted miners: who is asked, what their opinions decide, and what follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from agent.coordinator.features.audits.store import audits as audit_store
from agent.coordinator.features.log import store as log_store
from agent.coordinator.operations.context import Context
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store.receipts import typical_durations
from agent.core.market.ledger import available, earned
from aitbc.leaves.verdict import comparison_sha256
from support.audits.stage import FOUND, LIE, SERVICE, TRUE, Stage, comparing, staged, stopped
from support.jobs import WHISPER, submit
from support.recent import fold_everything


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("enforcing"), enforce=True) as stage:
        yield stage


@pytest.fixture(scope="module")
def reporting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("reporting"), second_opinion_seconds=3600) as stage:
        yield stage


def test_a_miner_that_is_proven_to_lie_loses_pay_and_reputation_once(enforcing: Stage) -> None:
    stage = enforcing
    worker, auditors = stage.miner(), (stage.miner(), stage.miner())
    account = stage.client.get("/v1/wallet").json()["account_id"]
    honest = stage.work(worker, TRUE)
    lease = stage.answer(auditors[0], "pass")
    assert lease["spec"]["audit"]["results"] == TRUE
    assert lease["spec"]["audit"]["statement"]["predicate"]["job_id"] == honest
    assert stage.audit(honest)["verdict"] == "pass"
    assert stage.client.get(f"/v1/jobs/{honest}").json()["audit"]["verdict"] == "pass"
    before = stage.balance(available(account))
    jobs = [stage.fails(worker, auditors) for _ in range(3)]
    # Three failures of four checks: an honest miner would have them with a probability of about 1e-7.
    found = [stage.audit(job_id) for job_id in jobs]
    assert {(audit["verdict"], audit["enforced"], audit["forfeited"]) for audit in found} == {
        ("fail", True, "0.0018")
    }
    assert 0 < max(audit["probability"] for audit in found) < 1e-6
    assert stage.balance(available(account)) == before
    assert stage.balance(earned(worker.miner_id)) == Decimal("0.0018")
    assert stage.reputation(worker) < 1.5
    assert stage.reputation(auditors[0]) > 3
    stage.advance()
    assert stage.balance(available(account)) == before
    assert len(stage.of_miner(worker)) == 7
    assert {audit["where"] for audit in stage.of_miner(worker) if audit["verdict"] == "fail"} == {"word 1"}
    stage.check()


def test_an_auditor_that_two_others_refute_is_the_odd_one_out(enforcing: Stage) -> None:
    stage = enforcing
    worker, liar, *others = (stage.miner() for _ in range(4))
    for number in range(3):
        job_id = stage.work(worker, TRUE)
        stage.answer(liar, "fail")
        for other in others:
            stage.answer(other, "pass")
        assert stage.audit(job_id)["verdict"] == "pass"
        assert stage.balance(earned(liar.miner_id)) == (
            0 if number == 2 else Decimal("0.0009") * (number + 1)
        ) + (Decimal("0.0018") if number == 2 else 0)
    assert stage.reputation(liar) < stage.reputation(others[0])
    stage.check()


def test_what_proves_nothing_costs_nothing(reporting: Stage) -> None:
    """Unproven opinions, malformed ones and vanished auditors end an audit without a result; shadow mode takes nothing."""
    stage = reporting
    worker, auditor, other = stage.miner(), stage.miner(), stage.miner()
    unproven = stage.work(worker, LIE)
    stage.answer(auditor, "unproven")
    stage.answer(other, "unproven")
    malformed = stage.work(worker, LIE)
    stage.answer(auditor, "guilty")
    stage.answer(other, "fail", distances={"word_errors": "many"})
    vanished = stage.work(worker, LIE)
    stage.advance()
    for miner in (auditor, other):
        (lease,) = miner.poll(1)
        miner.job(lease, "fail", kind="fail", code="INPUT_INVALID", message="no").raise_for_status()
        stage.advance()
    reasons = [stage.audit(job_id) for job_id in (unproven, malformed, vanished)]
    assert [audit["verdict"] for audit in reasons] == ["unproven"] * 3
    assert reasons[2]["reason"] == "No auditor could run the comparison."
    assert {audit["forfeited"] for audit in reasons} == {"0"}
    stage.check()


def test_no_miner_checks_itself_or_its_owners_others(reporting: Stage) -> None:
    stage = reporting
    first, second = stage.of_one_owner()
    independent = stage.miner()
    job_id = stage.work(first, TRUE)
    stage.advance()
    assert first.poll(4, wait=0.2) == second.poll(4, wait=0.2) == []
    owner = {"X-API-Key": stage.keys[first.miner_id]}
    waiting = httpx.get(f"{stage.served.url}/v1/miners/{first.miner_id}/explain", headers=owner).json()
    assert waiting["waiting_jobs"] == 0
    assert stage.of_miner(first) == []

    async def durations(context: Context) -> dict[tuple[str, str], float]:
        await fold_everything(context)
        return await context.database.read(typical_durations)

    before = stage.served.do(durations)
    stage.answer(independent, "pass")
    assert stage.served.do(durations) == before  # a comparison says nothing about how long the work takes
    assert stage.audit(job_id)["verdict"] == "pass"
    assert [audit["job_id"] for audit in stage.of_miner(first)] == [job_id]


def test_without_another_auditor_nothing_is_audited(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        worker, other = stage.miner(), stage.miner(audits=False)
        job_id = stage.work(worker, TRUE)
        stage.work(other, TRUE)
        assert stage.client.get(f"/v1/jobs/{job_id}/audit").status_code == 404
        assert "audit" not in stage.client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        body = {**WHISPER, "audited": True, "miner_id": worker.miner_id}
        refused = stage.client.post("/v1/services/whisper/transcribe", json=body)
        assert refused.status_code == 422
        job = {"type": SERVICE, "parameters": WHISPER, "miner_id": other.miner_id}
        stage.client.post("/v1/jobs", json=job).raise_for_status()
        (lease,) = other.poll(4)
        wrong = other.result_body(lease, TRUE) | {"evidence": {"token": 2**60}}
        refused = other.http.post(f"/jobs/{lease['job_id']}/result", json=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "RECEIPT_INVALID")
    with staged(tmp_path / "fleet") as stage:
        mine, _ = stage.of_one_owner()
        job_id = stage.work(mine, TRUE)
        assert stage.client.get(f"/v1/jobs/{job_id}/audit").status_code == 404
        refused = stage.client.post("/v1/services/whisper/transcribe", json={**WHISPER, "audited": True})
        (reason,) = refused.json()["error"]["details"]["reasons"]
        assert (refused.status_code, reason["code"]) == (422, "NO_AUDITOR")
        assert "another owner" in reason["message"]


def test_a_second_opinion_that_passes_takes_the_proof_away(reporting: Stage) -> None:
    stage = reporting
    worker, *auditors = (stage.miner() for _ in range(4))
    job_id = stage.fails(worker, (auditors[0], auditors[1]))
    audit = stage.audit(job_id)
    path = f"{stage.served.url}/v1/miners/{{}}/audits/{audit['audit_id']}/second-opinion"
    owner = {"X-API-Key": stage.keys[worker.miner_id]}
    stranger = {"X-API-Key": stage.keys[auditors[0].miner_id]}
    assert httpx.post(path.format(worker.miner_id), headers=stranger).status_code == 404
    assert httpx.post(path.format(auditors[0].miner_id), headers=stranger).status_code == 404
    asked = httpx.post(path.format(worker.miner_id), headers=owner)
    assert (asked.status_code, asked.json()["kind"]) == (202, "second_opinion")
    assert (
        httpx.post(path.format(worker.miner_id), headers=owner).json()["audit_id"] == asked.json()["audit_id"]
    )
    stage.answer(auditors[2], "pass")
    assert stage.audit(job_id)["verdict"] == "unproven"
    body = httpx.get(f"{stage.served.url}/v1/miners/{worker.miner_id}/audits", headers=owner).json()
    assert body["proofs"][0]["failed"] == 0
    assert httpx.post(path.format(worker.miner_id), headers=owner).status_code == 202
    stage.check()


def test_deleting_the_data_prevents_no_audit_and_leaves_no_copy(enforcing: Stage) -> None:
    stage = enforcing
    worker, auditor = stage.miner(), stage.miner()
    uploaded = stage.client.post(
        "/v1/artifacts", content=b"speech", headers={"Content-Type": "audio/wav"}
    ).json()
    with stopped():
        job_id = stage.work(worker, TRUE, {"audio_url": f"artifact:{uploaded['artifact_id']}"})
        stage.client.delete(f"/v1/jobs/{job_id}/data").raise_for_status()
    stage.advance()
    (lease,) = auditor.poll(1)
    assert lease["spec"]["audit"]["results"] == TRUE
    path = f"{stage.served.url}/v1/artifacts/{uploaded['artifact_id']}"
    assert auditor.http.get(path).content == b"speech"
    answer = {"verdict": "pass", **FOUND, "units": 1, "processing_time": 0.5}
    auditor.complete(lease, answer).raise_for_status()
    stage.advance()
    record = stage.served.do(lambda context: context.database.read(job_store.find, lease["job_id"]))
    assert record is not None
    assert (record.spec, record.deleted_at is not None) == ("{}", True)
    assert stage.admin.get(path).status_code == 404
    assert FOUND["where"] not in str(stage.of_miner(worker))
    stage.check()


def test_deleting_the_data_erases_what_auditors_quoted_from_it(enforcing: Stage) -> None:
    """The verdict, its figures and its leaf in the log remain. The digest there has a salt, without which nobody can guess the words."""
    stage = enforcing
    worker, auditors = stage.miner(), (stage.miner(), stage.miner())
    job_id = stage.fails(worker, auditors)
    before = stage.of_miner(worker)
    assert [one["where"] for one in before] == ["word 1", "word 1"]
    salts = [one["salt"] for one in before]
    assert [len(bytes.fromhex(salt)) for salt in salts] == [16, 16]
    assert salts[0] != salts[1]
    public = opinions_in_the_log(stage, before[-1]["audit_id"])
    assert public == {comparison_sha256(**FOUND, salt=salt) for salt in salts}
    assert comparison_sha256(**FOUND, salt="") not in public
    stage.client.delete(f"/v1/jobs/{job_id}/data").raise_for_status()
    after = stage.of_miner(worker)
    assert {(one["where"], one["reason"], one["salt"]) for one in after} == {("", audit_store.ERASED, "")}
    for name in ("verdict", "distances", "limits"):
        assert [one[name] for one in after] == [one[name] for one in before]
    stage.check()


def opinions_in_the_log(stage: Stage, audit_id: str) -> set[str]:
    """Return the digests of what auditors found, from the leaf of an audit."""
    stage.client.get(f"/v1/log/proof/{audit_id}").raise_for_status()

    async def leaf(context: Context) -> str:
        index = await context.database.read(log_store.index_of, audit_id)
        assert index is not None
        (found,) = await context.database.read(log_store.leaves, index, 1)
        return str(found.content)

    return {opinion["comparison_sha256"] for opinion in json.loads(stage.served.do(leaf))["opinions"]}


def test_a_client_buys_an_audit_at_the_price_that_is_shown(enforcing: Stage) -> None:
    stage = enforcing
    with comparing(stage.served, "window"):
        shown = stage.client.get(f"/v1/registry/services/{SERVICE}").json()["audit"]
        assert shown["percent"] == 25
        worker, auditor = stage.miner(), stage.miner()
        before = Decimal(stage.client.get("/v1/wallet").json()["balance"])
        job_id = stage.work(worker, TRUE, audited=True, pricing={"max_cost": "0.5"})
        paid = before - Decimal(stage.client.get("/v1/wallet").json()["balance"])
        assert paid == Decimal("0.002") * Decimal("1.25")
        stage.answer(auditor, "pass")
        assert stage.audit(job_id)["verdict"] == "pass"
        liar, second = stage.miner(), stage.miner()
        lies = [stage.fails(liar, (auditor, second), audited=True) for _ in range(3)]
        assert {stage.audit(lie)["enforced"] for lie in lies} == {True}
        types = [item["type"] for item in stage.client.get("/v1/wallet/transactions").json()["transactions"]]
        assert types.count("audit") == 4
        assert types.count("forfeit") >= 3
    stage.check()


def test_a_sealed_job_cannot_be_audited(enforcing: Stage) -> None:
    """Nobody but its client and its miner can read it, so the request is refused."""
    stage = enforcing
    worker, _ = stage.miner(), stage.miner()
    sealed = {
        "version": 1, "key_id": "0" * 32, "request_id": "0" * 32, "reply_key": "A" * 43 + "=",
        "model": "base", "capsule": "A" * 108, "ciphertext": "A" * 24,
    }  # fmt: skip
    body = {"type": SERVICE, "miner_id": worker.miner_id, "sealed": sealed, "audited": True}
    refused = stage.client.post("/v1/jobs", json=body)
    assert refused.status_code == 422
    assert "sealed job" in refused.json()["error"]["details"]["fields"]["audited"]


def test_jobs_choose_the_reputation_of_their_miner(enforcing: Stage) -> None:
    stage = enforcing
    refused = stage.client.post("/v1/services/whisper/transcribe", json={**WHISPER, "min_reputation": 4.9})
    assert refused.json()["error"]["code"] == "CANNOT_RUN"
    assert refused.json()["error"]["details"]["reasons"][0]["code"] == "REPUTATION_TOO_LOW"
    worker, auditor = stage.miner(audits=False), stage.miner()
    for _ in range(3):
        stage.work(worker, TRUE)
        stage.answer(auditor, "pass")
    known = stage.reputation(worker)
    job_id = submit(stage.client, min_reputation=known, miner_id=worker.miner_id)
    assert [lease["job_id"] for lease in worker.poll(1)] == [job_id]
