"""Opinions that prove nothing: they save no liar, earn nothing, and show who gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from agent.core.market.ledger import earned
from support.audits.stage import FOUND, LIE, TRUE, Stage, comparing, staged
from support.clients.scripted_miner import GPU, ScriptedMiner

PAY = Decimal("0.0018")
"""Of one job, without the operator's fee."""
LOOK = Decimal("0.00018")
"""The pay for looking: a tenth of that."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("accomplices"), enforce=True) as stage:
        yield stage


@pytest.mark.parametrize("position", [0, 1])
def test_attack_one_accomplice_that_proves_nothing_saves_no_liar_and_earns_no_more_than_a_look(
    stage: Stage, position: int
) -> None:
    liar, accomplice, honest, third = (stage.miner() for _ in range(4))
    counted = _unproven_opinions(stage)
    jobs = []
    for _ in range(3):
        jobs.append(stage.work(liar, LIE))
        opinions = [(honest, "fail"), (third, "fail")]
        opinions.insert(position, (accomplice, "unproven"))
        for auditor, verdict in opinions:
            said = FOUND["reason"] if verdict == "fail" else "It was not compared."
            stage.answer(auditor, verdict, units=8, reason=said)
    found = [stage.audit(job_id) for job_id in jobs]
    assert {(audit["verdict"], audit["enforced"]) for audit in found} == {("fail", True)}
    assert {audit["verdict_reason"] for audit in found} == {FOUND["reason"]}
    assert stage.balance(earned(liar.miner_id)) == 0
    assert stage.reputation(liar) < 1.5
    assert stage.balance(earned(accomplice.miner_id)) == 3 * LOOK
    assert stage.balance(earned(honest.miner_id)) == 3 * 8 * Decimal("0.0009")
    assert stage.reputation(accomplice) == 3.0 < stage.reputation(honest)
    record = stage.record(accomplice, "auditor")
    assert (record["checked"], record["unproven"], record["unproven_at_fault"]) == (0, 3, 3)
    assert _unproven_opinions(stage) == counted + 3
    stage.check()


def test_attack_malformed_opinions_of_an_accomplice_are_those_that_prove_nothing(stage: Stage) -> None:
    liar, accomplice, *others = (stage.miner() for _ in range(4))
    job_id = stage.work(liar, LIE)
    stage.answer(accomplice, "guilty")
    for auditor in others:
        stage.answer(auditor, "fail")
    assert stage.audit(job_id)["verdict"] == "fail"
    assert stage.balance(earned(accomplice.miner_id)) == LOOK
    assert stage.record(accomplice, "auditor")["unproven_at_fault"] == 1


def test_attack_an_accomplice_whose_runs_fail_is_not_asked_again_while_others_are_online(
    stage: Stage,
) -> None:
    """Nor is another miner of its owner."""
    liar, *others = (stage.miner() for _ in range(3))
    accomplices = stage.of_one_owner()
    job_id = stage.work(liar, LIE)
    stage.advance()
    (lease,) = accomplices[0].poll(1)
    accomplices[0].job(lease, "fail", kind="fail", code="INPUT_INVALID", message="no").raise_for_status()
    stage.advance()
    assert accomplices[0].poll(1, wait=0.2) == accomplices[1].poll(1, wait=0.2) == []
    for auditor in others:
        stage.answer(auditor, "fail")
    assert stage.audit(job_id)["verdict"] == "fail"


def test_an_auditor_that_always_proves_nothing_is_asked_only_if_no_other_can_be(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        worker, lazy, able, other = (stage.miner() for _ in range(4))
        for _ in range(3):
            stage.work(worker, TRUE)
            stage.answer(lazy, "unproven")
            stage.answer(able, "pass")
            stage.answer(other, "pass")
        job_id = stage.work(worker, TRUE)
        stage.advance()
        assert lazy.poll(1, wait=0.2) == []
        stage.answer(able, "pass")
        assert stage.audit(job_id)["verdict"] == "pass"
        for auditor in (able, other):
            stage.admin.post(f"/v1/admin/miners/{auditor.miner_id}/exclude").raise_for_status()
        alone = stage.work(worker, TRUE)
        stage.answer(lazy, "unproven")
        assert stage.audit(alone)["verdict"] == "unproven"
        stage.check()


def test_an_audit_that_nobody_else_can_repeat_ends_without_a_result_and_its_client_pays_only_the_look(
    tmp_path: Path,
) -> None:
    with staged(tmp_path) as stage, comparing(stage.served, "rerun"):
        worker, auditor = stage.miner(audits=False), stage.miner()
        before = Decimal(stage.client.get("/v1/wallet").json()["balance"])
        job_id = stage.work(worker, TRUE, audited=True)
        stage.answer(auditor, "unproven", units=8)
        assert stage.audit(job_id)["verdict"] == "unproven"
        paid = before - Decimal(stage.client.get("/v1/wallet").json()["balance"])
        assert paid == Decimal("0.002") + Decimal("0.0002")
        stage.check()


def test_attack_a_liar_whose_results_cannot_be_compared_gains_no_reputation(stage: Stage) -> None:
    """For want of evidence, say, or because it states another device or Python. Its record shows it."""
    liar, *auditors = (stage.miner() for _ in range(3))
    for _ in range(4):
        lied_about(stage, liar, auditors)
    assert stage.reputation(liar) == 3.0
    record = stage.record(liar)
    assert (record["checked"], record["unproven"], record["unproven_at_fault"]) == (0, 4, 4)
    assert {audit["cause"] for audit in stage.of_miner(liar)} == {"miner"}
    honest = stage.miner()
    job_id = stage.work(honest, TRUE)
    for auditor in auditors:
        stage.answer(auditor, "unproven")
    assert stage.audit(job_id)["cause"] is None
    assert stage.reputation(honest) > 3.0
    stage.check()


def test_attack_a_liar_that_states_another_device_than_it_has_registered_is_sanctioned(stage: Stage) -> None:
    liar, *auditors = (stage.miner() for _ in range(3))
    other = {"device_name": "Rare GPU", "device_uuid": "GPU-2"}
    jobs = [lied_about(stage, liar, auditors, stated=other) for _ in range(3)]
    found = [stage.audit(job_id) for job_id in jobs]
    assert {(audit["verdict"], audit["cause"], audit["enforced"]) for audit in found} == {
        ("unproven", "registration", True)
    }
    assert "GPU-2" in found[0]["contradiction"]
    assert stage.balance(earned(liar.miner_id)) == 0
    assert stage.reputation(liar) < 1.5
    assert stage.record(liar)["failed"] == 3
    stage.check()


def test_an_honest_miner_with_an_unusual_machine_keeps_its_pay_and_its_reputation(stage: Stage) -> None:
    """It has registered what it states, so that nothing speaks against it, though nobody can compare its results."""
    unusual = {**GPU, "uuid": "GPU-7", "name": "Rare GPU"}
    honest, *auditors = stage.miner(gpus=[unusual]), stage.miner(), stage.miner()
    for _ in range(8):
        lied_about(
            stage,
            honest,
            auditors,
            stated={"device_name": "Rare GPU", "device_uuid": "GPU-7"},
            results=TRUE,
        )
    assert stage.balance(earned(honest.miner_id)) == 8 * PAY
    assert stage.reputation(honest) == 3.0
    record = stage.record(honest)
    assert (record["failed"], record["probability"]) == (0, 1.0)
    stage.check()


def lied_about(
    stage: Stage,
    worker: ScriptedMiner,
    auditors: list[ScriptedMiner],
    stated: dict[str, str] | None = None,
    results: dict[str, object] = LIE,
) -> str:
    """Have a miner deliver results, of which the auditors say that it prevents their comparison. Return the job's id."""
    job_id = stage.work(worker, results, stated=stated)
    for auditor in auditors:
        stage.answer(auditor, "unproven", cause="miner")
    return job_id


def _unproven_opinions(stage: Stage) -> int:
    """Return the metric."""
    figure = re.search(
        r"^aitbc_coordinator_audit_unproven_opinions_total (\d+)",
        stage.admin.get("/metrics").text,
        re.MULTILINE,
    )
    assert figure is not None
    return int(figure[1])
