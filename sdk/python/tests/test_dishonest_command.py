"""`aitbc` with a coordinator that forges the answers to sealed jobs: nothing forged is printed or stored, also by later commands."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aitbc.statement import NamedDigest, Statement

from .support.sealing_miner import SealingMiner, digest_of, event, line, update
from .support.stand_in import Coordinator

pytestmark = pytest.mark.system

TRUE, FORGED = {"text": "four"}, {"text": "FORGED"}
QUESTION = ("chat", "--seal", "--model", "small", "2 + 2?", "--miner")


@pytest.fixture
def forging(market: Coordinator) -> Coordinator:
    market.answers["GET /v1/jobs/job_1/explain"] = {
        "job_id": "job_1",
        "status": "submitted",
        "summary": "",
        "can_run": "now",
        "reasons": [],
        "miners": [],
    }
    return market


def test_attack_a_forged_text_is_never_printed(quick, run, forging: Coordinator, miner: SealingMiner) -> None:
    """`aitbc chat --seal` stops at the first forged event; neither it nor a later command prints a forged answer."""
    forged = event({"kind": "token", "text": "FORGED"})
    forging.streams.append([update("job_1", "running"), forged, forged, update("job_1", "completed")])
    forging.results = FORGED
    outcome = quick(*QUESTION, miner.miner_id)
    assert (outcome.returncode, outcome.stdout) == (3, ""), outcome.stderr
    assert "in clear" in outcome.stderr
    forging.answers["GET /v1/jobs/job_1/log"] = {
        "job_id": "job_1",
        "entries": [line("FORGED", "stdout")],
        "truncated": False,
    }
    forging.streams.extend([[forged, update("job_1", "completed")]] * 2)
    forging.receipt = {
        "receipt_id": "receipt_1",
        "job_id": "job_1",
        "miner_id": miner.miner_id,
        "signature": {"sig": "", "public_key": ""},
        "attestations": [],
        "created_at": "2026-11-24T15:00:04Z",
    }
    for command in (
        ("jobs", "results", "job_1"),
        ("jobs", "results", "job_1", "--json"),
        ("jobs", "log", "job_1"),
        ("jobs", "watch", "job_1", "--json"),
        ("jobs", "show", "job_1"),
        ("receipts", "export", "job_1", "-o", "receipt.json"),
    ):
        printed = run(*command) if command[1] == "results" else quick(*command)
        assert (printed.returncode, "FORGED" in printed.stdout) == (3, False), (command, printed)
    assert not (run.workdir / "receipt.json").exists()


def test_attack_a_batch_gets_results_in_clear(quick, run, forging: Coordinator, miner: SealingMiner) -> None:
    """Also when the command is repeated, and with a receipt."""
    (run.workdir / "model.py").write_text("def predict(input): ...")
    forging.results = FORGED
    command = ("run", "--seal", "--miner", miner.miner_id, "model.py", "--receipt", "receipt.json")
    for program in (quick, run):
        outcome = program(*command)
        assert (outcome.returncode, "FORGED" in outcome.stdout) == (3, False), outcome
        assert "not sealed" in outcome.stderr
    assert len(forging.created) == 1  # the second time, the same job was resumed
    assert not (run.workdir / "receipt.json").exists()


def test_the_command_prints_what_the_miner_sealed(
    quick, run, forging: Coordinator, miner: SealingMiner
) -> None:
    """The honest case. Without a memory of the job, another machine says what it cannot know."""

    def answer() -> None:
        work = miner.run("job_1", forging.bodies[-1])
        forging.results = work.results(TRUE)
        forging.streams.append(
            [work.event(0, "token", {"text": "fo", "offset": 0}), update("job_1", "completed")]
        )
        forging.ends["job_1"] = {
            "status": "completed",
            "miner_id": miner.miner_id,
            "sealed": forging.bodies[-1]["sealed"],
        }

    forging.on_created = answer
    outcome = quick(*QUESTION, miner.miner_id)
    assert (outcome.returncode, outcome.stdout) == (0, "four\n"), outcome.stderr
    printed = json.loads(run("jobs", "results", "job_1", "--json").stdout)
    assert (printed["results"], printed["opened"]) == (TRUE, True)
    assert quick("jobs", "show", "job_1").returncode == 0
    config = Path(os.environ["AITBC_CONFIG_DIR"])
    copied = config.with_name("copied")
    copied.mkdir()
    (config / "sealing.json").rename(copied / "sealing.json")
    elsewhere = run("jobs", "results", "job_1", "--json", AITBC_CONFIG_DIR=str(copied))
    assert json.loads(elsewhere.stdout)["opened"] is False
    assert "no memory of sealing" in elsewhere.stderr


def test_attack_a_receipt_file_of_another_request(
    quick,
    forging: Coordinator,
    miner: SealingMiner,
    statement: Statement,
    sign: Callable[..., Any],
    signed: Any,
) -> None:
    """`aitbc receipts verify` compares a file with what this client sealed, and says if it does not know."""
    forging.results = FORGED
    quick(*QUESTION, miner.miner_id)  # which fails, but the job was sealed
    work = miner.run("job_1", forging.bodies[-1])
    results = {**work.results(TRUE), "units": float(statement.units)}
    subject = (NamedDigest("result.json", digest_of(results)),)

    def verified(**changes: Any) -> Any:
        receipt = sign(
            dataclasses.replace(statement, **{"subject": subject, **work.statement(TRUE), **changes})
        )
        Path("receipt.json").write_text(json.dumps(receipt))
        return quick("receipts", "verify", "receipt.json", "--log-key", signed.log_key)

    outcome = verified()
    assert (outcome.returncode, "answers the request that this client sealed" in outcome.stdout) == (
        0,
        True,
    ), outcome
    sealing = work.statement(TRUE)["sealed"]
    outcome = verified(sealed=dataclasses.replace(sealing, request_id="0" * 32))
    assert (outcome.returncode, "does not answer the request" in outcome.stdout) == (3, True), outcome
    outcome = verified(job_id="job_9")
    assert (outcome.returncode, "no memory of sealing" in outcome.stdout) == (0, True), outcome
