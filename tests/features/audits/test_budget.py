"""What audits cost: the operator pays no more than the day's budget, and what clients pay for the audits that they request."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.audits.rounds.asking import UNAFFORDABLE
from agent.coordinator.features.audits.rounds.deciding import MALFORMED
from agent.core.market.ledger import available, earned
from support.audits.stage import FOUND, LIE, TRUE, Stage, comparing, staged


def test_attack_high_maximum_costs_use_up_no_budget(tmp_path: Path) -> None:
    """An audit may cost a few times what the job did cost, so a client cannot make it dear, nor an accomplice earn much with it."""
    with staged(tmp_path, budget_per_day="0.1") as stage:
        worker, auditor = stage.miner(), stage.miner()
        jobs = [stage.work(worker, TRUE, pricing={"max_cost": "50"}) for _ in range(5)]
        stage.advance()
        leases = auditor.poll(8)
        assert {lease["max_cost"] for lease in leases} == {"0.008"}  # four times two units at 0.001
        assert len(leases) == len(jobs)
        used = "aitbc_coordinator_audit_budget_used_ratio"
        assert f"{used} 0.4" in stage.client.get("/metrics").text
        for lease in leases:
            results = {"verdict": "pass", **FOUND, "units": 30, "processing_time": 0.5}
            auditor.complete(lease, results).raise_for_status()
        assert stage.balance(earned(auditor.miner_id)) <= Decimal("0.008") * len(leases)
        stage.advance()
        assert {stage.audit(job_id)["verdict"] for job_id in jobs} == {"pass"}
        stage.check()


def test_all_auditors_may_be_dearer_than_the_audited_miner(tmp_path: Path) -> None:
    with staged(tmp_path, budget_per_day="0.1") as stage:
        worker, dear = stage.miner(price="0.0001", audits=False), stage.miner(price="0.004")
        job_id = stage.work(worker, TRUE)
        stage.answer(dear, "pass")
        assert stage.audit(job_id)["verdict"] == "pass"


def test_a_requested_audit_without_an_auditor_is_refunded(tmp_path: Path) -> None:
    with staged(tmp_path, wait_seconds=1e-6) as stage, comparing(stage.served, "rerun"):
        worker, auditor = stage.miner(), stage.miner()
        before = Decimal(stage.client.get("/v1/wallet").json()["balance"])
        job_id = stage.work(worker, TRUE, audited=True)
        stage.admin.post(f"/v1/admin/miners/{auditor.miner_id}/exclude").raise_for_status()
        stage.advance()
        assert stage.audit(job_id)["verdict"] == "unproven"
        assert before - Decimal(stage.client.get("/v1/wallet").json()["balance"]) == Decimal("0.002")
        stage.check()


def test_attack_requested_audits_of_an_accomplices_free_work_stay_within_the_budget(tmp_path: Path) -> None:
    """The client pays a share of nothing, and the only auditor is dear."""
    with staged(tmp_path, budget_per_day="0.1") as stage, comparing(stage.served, "prefill"):
        worker, auditor = stage.miner(price="0", audits=False), stage.miner(price="5")
        before = wealth(stage)
        jobs = [stage.work(worker, TRUE, audited=True, pricing={"max_cost": "100"}) for _ in range(3)]
        stage.advance()
        assert auditor.poll(4, wait=0.2) == []
        audits = [stage.audit(job_id) for job_id in jobs]
        assert {(audit["status"], audit["verdict"], audit["reason"]) for audit in audits} == {
            ("decided", "unproven", UNAFFORDABLE)
        }
        assert wealth(stage) == before
        stage.check()


def test_attack_a_requested_audit_costs_the_client_and_the_budget_but_never_more(tmp_path: Path) -> None:
    """The auditor meters what its lease allows, which is what the client pays and the budget has left."""
    with staged(tmp_path, budget_per_day="0.003") as stage, comparing(stage.served, "rerun"):
        worker, auditor = stage.miner(audits=False), stage.miner()
        before, verdicts = wealth(stage), []
        for _ in range(3):
            verdicts.append(stage.work(worker, TRUE, audited=True, pricing={"max_cost": "5"}))
            stage.answer(auditor, "pass", units=5000)
        assert {stage.audit(job_id)["verdict"] for job_id in verdicts} == {"pass"}
        paid = 3 * Decimal("0.002")
        assert before - wealth(stage) == 2 * paid
        assert stage.balance(earned(auditor.miner_id)) == (paid + Decimal("0.003")) * Decimal("0.9")
        assert "aitbc_coordinator_audit_budget_used_ratio 1.0" in stage.client.get("/metrics").text
        drawn = stage.work(worker, TRUE)
        stage.advance()
        assert stage.audit(drawn)["reason"] == UNAFFORDABLE
        stage.check()


@pytest.mark.parametrize("units", [1, 8])
def test_attack_malformed_opinions_cost_the_operator_nothing(tmp_path: Path, units: int) -> None:
    """The auditor is paid for a look by the client, who gets back the rest."""
    with staged(tmp_path, budget_per_day="0") as stage, comparing(stage.served, "rerun"):
        worker, auditor, _ = stage.miner(audits=False), stage.miner(), stage.miner()
        before = wealth(stage)
        job_id = stage.work(worker, TRUE, audited=True, pricing={"max_cost": "5"})
        stage.answer(auditor, "guilty", units=units)
        audit = stage.audit(job_id)
        assert (audit["status"], audit["verdict"], audit["reason"]) == ("decided", "unproven", MALFORMED)
        assert before - wealth(stage) == Decimal("0.0022")
        assert stage.balance(earned(auditor.miner_id)) == Decimal("0.00018")
        stage.check()


def test_a_second_auditor_is_asked_if_the_client_or_the_budget_can_pay(tmp_path: Path) -> None:
    with staged(tmp_path, budget_per_day="1") as stage, comparing(stage.served, "rerun"):
        worker, auditor, other = stage.miner(audits=False), stage.miner(), stage.miner()
        before = wealth(stage)
        job_id = stage.work(worker, TRUE, audited=True, pricing={"max_cost": "5"})
        stage.answer(auditor, "guilty")
        stage.answer(other, "guilty")
        assert stage.audit(job_id)["verdict"] == "unproven"
        assert before - wealth(stage) == Decimal("0.0024")  # the job, and two looks of auditors
        stage.check()


def test_further_opinions_count_against_the_budget(tmp_path: Path) -> None:
    """The audit waits for the budget as long as it waits for an auditor, and then ends without a result."""
    with staged(tmp_path, budget_per_day="0.012") as stage:
        worker, *auditors = (stage.miner() for _ in range(3))
        job_id = stage.work(worker, LIE)
        stage.answer(auditors[0], "fail", units=8)
        for auditor in auditors:
            assert auditor.poll(1, wait=0.2) == []
        assert stage.audit(job_id)["verdict"] is None
        change(stage, wait_seconds=0.001)
        stage.advance()
        assert stage.audit(job_id)["verdict"] == "unproven"
        stage.check()


def test_a_second_opinion_counts_against_the_budget(tmp_path: Path) -> None:
    """The verdict stays. It is reported in shadow mode, and the wait before a sanction ends with the second opinion."""
    with staged(tmp_path, budget_per_day="0.018", second_opinion_seconds=3600) as stage:
        worker, *auditors = (stage.miner() for _ in range(4))
        job_id = stage.work(worker, LIE)
        for auditor in auditors[:2]:
            stage.answer(auditor, "fail", units=8)
        audit = stage.audit(job_id)
        assert audit["verdict"] == "fail"
        path = f"/v1/miners/{worker.miner_id}/audits/{audit['audit_id']}/second-opinion"
        asked = httpx.post(stage.served.url + path, headers={"X-API-Key": stage.keys[worker.miner_id]})
        assert asked.status_code == 202
        stage.advance()
        assert auditors[2].poll(1, wait=0.2) == []
        change(stage, wait_seconds=0.001)
        stage.advance()
        (second,) = [one for one in stage.of_miner(worker) if one["kind"] == "second_opinion"]
        assert (second["status"], second["verdict"], second["reason"]) == (
            "decided",
            "unproven",
            UNAFFORDABLE,
        )
        assert stage.audit(job_id)["verdict"] == "fail"
        stage.check()


def wealth(stage: Stage) -> Decimal:
    return stage.balance(available(stage.client.get("/v1/wallet").json()["account_id"]))


def change(stage: Stage, **audits: Any) -> None:
    """Change settings of audits."""
    settings = stage.served.context.settings
    changed = settings.audits.model_copy(update=audits)
    object.__setattr__(stage.served.context, "settings", settings.model_copy(update={"audits": changed}))
