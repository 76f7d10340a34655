"""`kill -9` of a coordinator before and after each step of an audit: nothing is lost, decided twice, or taken twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from agent.fault_points import VARIABLE
from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit

pytestmark = pytest.mark.chaos

T = TypeVar("T")
LIMIT_SECONDS = 180
SERVICE = "whisper_transcription"
LIE = {
    "text": "Goodbye",
    "segments": [],
    "language": "en",
    "duration": 2.0,
    "processing_time": 1.0,
    "units": 2,
}
FOUND = {
    "verdict": "fail",
    "distances": {"word_errors": 0.5},
    "limits": {"word_errors": 0.1},
    "where": "word 1",
    "reason": "It differs.",
    "units": 1,
    "processing_time": 0.5,
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan"
    path.touch()
    return path


@pytest.fixture
def coordinator(tmp_path: Path, plan: Path) -> Iterator[Agent]:
    chosen = {"enforce": True, "recheck_share": 0, "second_opinion_seconds": 0, "least_share": 1}
    settings = {
        f"AITBC_COORDINATOR__AUDITS__{name.upper()}": json.dumps(value) for name, value in chosen.items()
    }
    agent = Agent(
        tmp_path / "coordinator", "coordinator", "--port", "0",
        **{"AITBC_COORDINATOR__OPEN_ENROLMENT": "true", VARIABLE: str(plan), **settings},
    )  # fmt: skip
    with running(agent):
        yield agent


class Stage:
    def __init__(self, agent: Agent, plan: Path) -> None:
        self.agent, self.plan = agent, plan
        able = capabilities()
        able["services"][SERVICE]["features"] = {"audits": True}
        self.able = able
        self.miners = [ScriptedMiner(agent.url) for _ in range(3)]
        self.join()

    def join(self) -> None:
        """Connect to the coordinator, which may have another port after a restart."""
        self.client = httpx.Client(
            base_url=self.agent.url, headers={"X-API-Key": self.agent.file["client_key"]}, timeout=120
        )
        for miner in self.miners:
            miner.url = self.agent.url
            miner.http.base_url = httpx.URL(f"{self.agent.url}/v1/miners")
            miner.http.headers.pop("Authorization", None)
            miner.register(capabilities=self.able).raise_for_status()

    def kill_at(self, point: str) -> None:
        self.plan.write_text(f"{point} kill 1\n")

    def restart(self) -> None:
        assert self.agent.process is not None
        self.agent.process.wait(60)
        self.plan.write_text("")
        self.agent.start()
        self.join()


KILLS = [("_settle", "")] + [
    (step, when) for step in ("_ask", "_collect", "_settle") for when in ("before", "after")
]


def test_audits_survive_a_kill_at_every_step(coordinator: Agent, plan: Path) -> None:
    """Each lie but the first is audited while the coordinator dies before or after a step."""
    stage = Stage(coordinator, plan)
    worker, *auditors = stage.miners
    jobs = []
    for step, when in KILLS:
        point = f"database.{when}_commit:{step}"
        job_id = submit(stage.client)
        jobs.append(job_id)
        (lease,) = worker.poll(1)
        if step == "_ask":
            stage.kill_at(point)
        worker.complete(lease, LIE).raise_for_status()
        if step == "_ask":
            stage.restart()
        for auditor in auditors:
            found = answered(stage, auditor)
            strikes = when and step != "_ask" and auditor is auditors[-1]
            if strikes:
                stage.kill_at(point)
            auditor.complete(found, FOUND).raise_for_status()
            if strikes:
                stage.restart()
        decided(stage, job_id)
    until(lambda: all(audit(stage, job_id)["enforced"] for job_id in jobs))
    page = stage.client.get("/v1/wallet/transactions", params={"limit": 100}).json()["transactions"]
    assert [item["amount"] for item in page if item["type"] == "forfeit"] == ["0.002"] * len(KILLS)
    assert {audit(stage, job_id)["verdict"] for job_id in jobs} == {"fail"}
    assert coordinator.cli("fsck").returncode == 0


def audit(stage: Stage, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = stage.client.get(f"/v1/jobs/{job_id}/audit").raise_for_status().json()
    return found


def decided(stage: Stage, job_id: str) -> None:
    until(lambda: audit(stage, job_id)["verdict"] is not None)


def answered(stage: Stage, auditor: ScriptedMiner) -> dict[str, Any]:
    """Return the audit job that waits for the auditor."""
    return until(lambda: next(iter(auditor.poll(1, wait=2)), None))


def until(holds: Callable[[], T | None]) -> T:
    end = time.monotonic() + LIMIT_SECONDS
    while not (found := holds()):
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.05)
    return found
