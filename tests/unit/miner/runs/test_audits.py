"""An audit through a whole miner: the evidence of one job, and another job that checks it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.miner.executor.contract import Execution
from agent.miner.machine.calibrations import add_calibrations, read_calibrations
from agent.miner.runs.audits import same_weights, unsigned_part
from aitbc.canonical import canonical_json, parse_json, sha256_hex
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import make_daemon, running, settings_for
from runners.api import Calibration, Condition, Device
from runners.audits import Comparison, HonestRange, printable, run_seed
from runners.host.protocol import Done, RunnerIdentity

NONCE = "9c" * 32
CPU = Condition("scripted", "exact", "cpu")


async def audit(coordinator: FakeCoordinator, job_id: str, text: str, **changed: Any) -> dict[str, Any]:
    """Let the miner check its own job, as if the client had asked for `text`."""
    body = coordinator.results[job_id]
    work = {
        "results": body["results"], "statement": parse_json(coordinator.statements[job_id].to_payload()), "evidence": body["evidence"], "nonce": NONCE,
    } | changed  # fmt: skip
    files = {"audit:answer.txt": f"artifact:{body['results']['file']['artifact_id']}"}
    audit_id = await coordinator.submit("prove", text=text, files=files, audit=work)
    await coordinator.until(lambda: audit_id in coordinator.results)
    found: dict[str, Any] = coordinator.results[audit_id]["results"]
    return found


@pytest.mark.anyio
async def test_evidence_is_signed_and_another_run_compares_the_work(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    honest = HonestRange(0, 0, 100, 0.5)
    made = Calibration("scripted", CPU, CPU, {"text": honest, "seed": honest})
    async with running(make_daemon(settings_for(tmp_path), coordinator.url)):
        job_id = await coordinator.submit("prove", text="hello", nonce=NONCE)
        await coordinator.until(lambda: job_id in coordinator.results)
        statement, body = coordinator.statements[job_id], coordinator.results[job_id]
        unproven = await audit(coordinator, job_id, "hello")
        add_calibrations(tmp_path / "data", [replace(made, audited=Condition("scripted", "other", "cpu"))])
        unknown = await audit(coordinator, job_id, "hello")
        add_calibrations(tmp_path / "data", [made])
        verdicts = [
            await audit(coordinator, job_id, "hello"),
            await audit(coordinator, job_id, "hallo"),
            await audit(coordinator, job_id, "hello", nonce="00" * 32),
        ]
        other = await audit(coordinator, job_id, "hello", results=body["results"] | {"more": 1})
        old = await coordinator.submit("prove", text="hello")  # by a coordinator that knows no audits
        await coordinator.until(lambda: old in coordinator.results)
    assert body["evidence"] == {"seed": run_seed(job_id, 1, statement.miner_id, NONCE)}
    assert statement.evidence_sha256 == sha256_hex(canonical_json(body["evidence"]))
    assert "evidence" not in coordinator.results[old]
    assert coordinator.statements[old].evidence_sha256 is None
    assert unproven["verdict"] == "unproven"
    assert "calibrate" in unproven["reason"]
    # Without any calibration it is the auditor's; if it has one for itself, it is what the miner states.
    assert [(found["verdict"], found["cause"]) for found in (unproven, unknown)] == [
        ("unproven", ""),
        ("unproven", "miner"),
    ]
    assert [(found["verdict"], found["distances"]) for found in verdicts] == [
        ("pass", {"text": 0, "seed": 0}),
        ("fail", {"text": 1, "seed": 0}),
        ("fail", {"text": 0, "seed": 1}),
    ]
    assert (other["verdict"], other["where"], other["units"]) == ("fail", "result.json", 0)
    assert verdicts[1] | {"processing_time": 0} == {
        "verdict": "fail", "reason": "The distance text of the result is 1; honest runs stay below 0.5.", "where": "the file",
        "distances": {"text": 1, "seed": 0}, "limits": {"text": 0.5, "seed": 0.5}, "units": 1, "processing_time": 0, "cause": "",
    }  # fmt: skip
    offer = coordinator.registrations[0]["capabilities"]["services"]["scripted"]
    assert offer["features"]["audits"] is True


def test_calibrations_survive_and_are_replaced_by_newer_ones(tmp_path: Path) -> None:
    old = Calibration("scripted", CPU, CPU, {"text": HonestRange(0, 0.25, 10, 0.5)}, "a model", "0" * 64)
    other = Calibration("scripted", CPU, Condition("scripted", "exact", "NVIDIA L4"), old.ranges)
    new = Calibration("scripted", CPU, CPU, {"text": HonestRange(0, 0.5, 20, 1)}, "a model", "0" * 64)
    add_calibrations(tmp_path, [old, other])
    add_calibrations(tmp_path, [new])
    assert read_calibrations(tmp_path)[:2] == (new, other)
    (tmp_path / "calibrations.toml").write_text("calibration = 7")
    assert new not in read_calibrations(tmp_path)


def test_attack_names_in_audited_results_bring_no_control_characters_into_an_answer() -> None:
    """The coordinator would refuse it, so a liar could use them to have no answer accepted."""
    found = printable(Comparison("fail", "\x1b[2J differs", where="results.\x9b\0"))
    assert (found.reason, found.where) == ("\ufffd[2J differs", "results.\ufffd\ufffd")


def test_every_output_must_be_the_signed_one() -> None:
    results = {"text": "hello"}
    signed = {"result.json": sha256_hex(canonical_json(results)), "a.png": "1" * 64}
    statement = {"subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in signed.items()]}
    given = {"image_url": "7" * 64, "audit:a.png": "1" * 64}
    assert unsigned_part(results, statement, given) is None
    assert unsigned_part({"text": "hallo"}, statement, given) == "result.json"
    assert unsigned_part({"text": float("nan")}, statement, given) == "result.json"
    assert unsigned_part(results, statement, given | {"audit:a.png": "2" * 64}) == "a.png"
    assert unsigned_part(results, statement, {}) == "a.png"
    assert unsigned_part(results, statement, given | {"audit:b.png": "1" * 64}) == "b.png"


def test_auditor_with_other_weights_proves_nothing() -> None:
    done = Done(
        run_id="r", results={"verdict": "fail", "limits": {"text": 1}}, units=Decimal(1), processing_time=1
    )
    statement = {"predicate": {"model": {"name": "a model", "digest": {"sha256": "1" * 64}}}}
    execution = Execution(done, RunnerIdentity(name="llm", version="1"), Device("cpu", "CPU"), "2" * 64)
    found = same_weights(execution, statement).done.results
    assert (found["verdict"], found["cause"]) == ("unproven", "miner")
    equal = replace(execution, weights="1" * 64)
    assert same_weights(equal, statement) == equal
