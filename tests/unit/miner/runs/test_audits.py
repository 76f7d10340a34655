"""An audit through a whole miner: the evidence of one job, and another job that checks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.miner.machine.calibrations import add_calibrations, read_calibrations
from aitbc.canonical import canonical_json, parse_json, sha256_hex
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import make_daemon, running, settings_for
from runners.api import Calibration, Condition
from runners.audits import HonestRange, run_seed

pytestmark = pytest.mark.anyio

NONCE = "9c" * 32
CPU = Condition("scripted", "exact", "cpu")


def predicate(coordinator: FakeCoordinator, job_id: str) -> dict[str, Any]:
    return parse_json(coordinator.statements[job_id].to_payload())["predicate"]


async def audit(coordinator: FakeCoordinator, job_id: str, text: str, **changed: Any) -> dict[str, Any]:
    """Let the miner check its own job, as if the client had asked for `text`."""
    body = coordinator.results[job_id]
    work = {
        "results": body["results"], "statement": predicate(coordinator, job_id), "evidence": body["evidence"], "nonce": NONCE,
    } | changed  # fmt: skip
    files = {"audit:answer.txt": f"artifact:{body['results']['file']['artifact_id']}"}
    audit_id = await coordinator.submit("prove", text=text, files=files, audit=work)
    await coordinator.until(lambda: audit_id in coordinator.results)
    found: dict[str, Any] = coordinator.results[audit_id]["results"]
    return found


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
        add_calibrations(tmp_path / "data", [made])
        verdicts = [
            await audit(coordinator, job_id, "hello"),
            await audit(coordinator, job_id, "hallo"),
            await audit(coordinator, job_id, "hello", nonce="00" * 32),
        ]
    assert body["evidence"] == {"seed": run_seed(job_id, 1, statement.miner_id, NONCE)}
    assert statement.evidence_sha256 == sha256_hex(canonical_json(body["evidence"]))
    assert unproven["verdict"] == "unproven"
    assert "calibrate" in unproven["reason"]
    assert [(found["verdict"], found["distances"]) for found in verdicts] == [
        ("pass", {"text": 0, "seed": 0}),
        ("fail", {"text": 1, "seed": 0}),
        ("fail", {"text": 0, "seed": 1}),
    ]
    assert verdicts[1] | {"processing_time": 0} == {
        "verdict": "fail", "reason": "The distance text of the result is 1; honest runs stay below 0.5.", "where": "the file",
        "distances": {"text": 1, "seed": 0}, "limits": {"text": 0.5, "seed": 0.5}, "units": 1, "processing_time": 0,
    }  # fmt: skip
    offer = coordinator.registrations[0]["capabilities"]["services"]["scripted"]
    assert offer["features"] == {"audits": True}


def test_calibrations_survive_and_are_replaced_by_newer_ones(tmp_path: Path) -> None:
    old = Calibration("scripted", CPU, CPU, {"text": HonestRange(0, 0.25, 10, 0.5)}, "a model", "0" * 64)
    other = Calibration("scripted", CPU, Condition("scripted", "exact", "NVIDIA L4"), old.ranges)
    new = Calibration("scripted", CPU, CPU, {"text": HonestRange(0, 0.5, 20, 1)}, "a model", "0" * 64)
    add_calibrations(tmp_path, [old, other])
    add_calibrations(tmp_path, [new])
    assert read_calibrations(tmp_path)[:2] == (new, other)
    (tmp_path / "calibrations.toml").write_text("calibration = 7")
    assert new not in read_calibrations(tmp_path)
