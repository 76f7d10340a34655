"""The built JavaScript SDK in Node, against a coordinator that forges or exchanges the answer to a sealed job.

Each call of the program is a process, so what it remembers is what earlier ones have stored: those of the Python SDK too.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aitbc import AITBCClient
from aitbc.statement import NamedDigest, Statement

from .support.sealing_miner import SealedRun, SealingMiner, digest_of, event, line, update
from .support.stand_in import Coordinator

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).parents[3] / "tests" / "javascript" / "sealed.js"
TRUE, FORGED = {"text": "four"}, {"text": "FORGED"}
CALLS = ("results", "signed", "events", "log", "receipt", "rerun")


@pytest.fixture
def node(environment: dict[str, str], market: Coordinator) -> Callable[..., str]:
    def node(*arguments: str, key: str = "") -> str:
        command = ["node", str(PROGRAM), *arguments, *([key] if key else [])]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        return ended.stdout.strip() or ended.stderr

    return node


@pytest.fixture
def sealed_run(node: Callable[..., str], market: Coordinator, miner: SealingMiner) -> SealedRun:
    """A job that Node has sealed to the miner, and the miner's run of it."""
    return miner.run(node("seal", miner.miner_id), market.bodies[-1])


def returning(
    market: Coordinator, job_id: str, results: Any, events: list[bytes], log: dict[str, Any]
) -> None:
    """Have the coordinator return this of a job, and what it likes when the job shall run again."""
    market.results, market.proofs = results, type(market.proofs)(["proof"])
    market.streams.append([*events, update(job_id, "completed")])
    market.answers[f"GET /v1/jobs/{job_id}/log"] = log
    market.answers[f"POST /v1/jobs/{job_id}/rerun"] = {
        "job_id": "job_9",
        "status": "completed",
        "results": FORGED,
    }


def in_clear(market: Coordinator, job_id: str) -> None:
    log = {"job_id": job_id, "entries": [line("FORGED", "stdout")], "truncated": False}
    returning(market, job_id, FORGED, [event({"kind": "token", "text": "FORGED"})], log)


def require_refused(answers: dict[str, Any], *calls: str) -> None:
    wrong = {
        name: answers[name]
        for name in calls
        if answers[name].get("error") not in {"VerificationError", "FormatError"}
    }
    assert wrong == {}
    assert "FORGED" not in json.dumps(answers)


def test_the_miners_own_answer_is_opened(
    node: Callable[..., str],
    market: Coordinator,
    sealed_run: SealedRun,
    statement: Statement,
    sign: Callable[..., Any],
    config: Path,
) -> None:
    """Also the Python SDK opens what Node has sealed, since both have the same memory."""
    job_id, results = sealed_run.job.job_id, sealed_run.results(TRUE)
    returning(market, job_id, results, [sealed_run.event(0, "token", TRUE)], sealed_run.log("a line"))
    subject = (NamedDigest("result.json", digest_of(results)),)
    market.receipt = sign(dataclasses.replace(statement, subject=subject, **sealed_run.statement(TRUE)))
    answers = json.loads(node("read", job_id))
    assert {name for name in CALLS if "error" in answers[name]} == {"rerun"}
    assert (answers["results"]["value"]["results"], answers["results"]["value"]["opened"]) == (TRUE, True)
    assert answers["events"]["value"] == [["token", "four", True], ["job_update", None, None]]
    log = answers["log"]["value"]
    assert ([entry["text"] for entry in log["entries"]], log["opened"]) == (["a line"], True)
    modes = [
        path.stat().st_mode & 0o777 for path in (config / "sealed_jobs", *(config / "sealed_jobs").iterdir())
    ]
    assert modes == [0o700, 0o600, 0o600]
    with AITBCClient(base_url=node_url(market), api_key="key_1") as client:
        assert client.jobs.get_results(job_id).opened


def node_url(market: Coordinator) -> str:
    """Return the address of the coordinator, which its last caller used."""
    return f"http://{market.seen[-1][2]['host']}"


def test_attack_everything_in_clear(
    node: Callable[..., str], market: Coordinator, miner: SealingMiner
) -> None:
    """In the process that sealed the job, and in a later one."""
    in_clear(market, "job_1")
    require_refused(json.loads(node("seal", miner.miner_id, "read")), *CALLS)
    in_clear(market, "job_1")
    require_refused(json.loads(node("read", "job_1")), *CALLS)


def test_attack_the_answer_of_another_miner_or_to_another_request(
    node: Callable[..., str],
    market: Coordinator,
    sealed_run: SealedRun,
    miner: SealingMiner,
    other: SealingMiner,
    statement: Statement,
    sign: Callable[..., Any],
) -> None:
    """The other miner has got an earlier request, as which the coordinator now describes the job."""
    job_id = sealed_run.job.job_id
    node("seal", other.miner_id)
    earlier = market.bodies[-1]
    described = {name: earlier["sealed"][name] for name in ("request_id", "reply_key")}
    market.ends[job_id] = {"status": "completed", "miner_id": other.miner_id, "sealed": described}
    second = miner.run(node("seal", miner.miner_id), market.bodies[-1])
    for foreign in (other.run(job_id, earlier), second):
        results = foreign.results(FORGED)
        returning(market, job_id, results, [foreign.event(0, "token", FORGED)], foreign.log("FORGED"))
        subject = (NamedDigest("result.json", digest_of(results)),)
        market.receipt = sign(dataclasses.replace(statement, subject=subject, **foreign.statement(FORGED)))
        require_refused(json.loads(node("read", job_id)), *CALLS)


def test_attack_a_new_job_gets_the_id_of_an_earlier_one(
    node: Callable[..., str], market: Coordinator, sealed_run: SealedRun, miner: SealingMiner
) -> None:
    for job_id in (sealed_run.job.job_id, "../sealing"):
        market.created["again"] = job_id
        refusal = node("seal", miner.miner_id, key="again")
        assert "earlier request" in refusal or "not an id" in refusal, refusal
    returning(market, sealed_run.job.job_id, sealed_run.results(TRUE), [], sealed_run.log("a line"))
    assert json.loads(node("read", sealed_run.job.job_id))["results"]["value"]["opened"]


def test_a_job_without_a_memory_says_so(
    node: Callable[..., str], market: Coordinator, sealed_run: SealedRun, config: Path
) -> None:
    for path in (config / "sealed_jobs").iterdir():
        path.unlink()
    job_id, sealed = sealed_run.job.job_id, market.bodies[-1]["sealed"]
    market.ends[job_id] = {"status": "completed", "miner_id": sealed_run.job.miner_id, "sealed": sealed}
    returning(market, job_id, sealed_run.results(TRUE), [], sealed_run.log("a line"))
    answer = json.loads(node("read", job_id))["results"]["value"]
    assert (answer["results"], answer["opened"]) == (TRUE, False)
    assert "no memory of sealing" in answer["caution"]
    (config / "sealed_jobs" / f"{job_id}.json").write_text("{")
    assert json.loads(node("read", job_id))["results"]["error"] == "ConfigurationError"
