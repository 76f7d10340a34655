"""A coordinator with scripted miners that check each other's work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from agent.coordinator.features.audits import advancing, canaries
from agent.coordinator.features.log import fsck
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.context import Context
from agent.coordinator.store import ledger
from runners.api import Comparer
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import WHISPER
from support.server import Served, serve

ADVANCE = advancing.advance
SERVICE = "whisper_transcription"
TRUE = {
    "text": "Hello",
    "segments": [],
    "language": "en",
    "duration": 2.0,
    "processing_time": 1.0,
    "units": 2,
}
LIE = {**TRUE, "text": "Goodbye"}
FOUND = {
    "distances": {"word_errors": 0.5},
    "limits": {"word_errors": 0.1},
    "where": "word 1",
    "reason": "It differs.",
}


class Stage:
    """A coordinator with a client, and miners that check each other's work."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120)
        self.admin = httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key}, timeout=120)
        self.keys: dict[str, str] = {}

    def miner(self, *, audits: bool = True, price: str = "0.001", **changes: Any) -> ScriptedMiner:
        able = capabilities(**changes)
        offer = able["services"][SERVICE]
        offer["unit_price"] = price
        offer["features"] = {"audits": audits}
        miner = ScriptedMiner(self.served.url)
        self.keys[miner.miner_id] = miner.register(capabilities=able).raise_for_status().json()["api_key"]
        return miner

    def of_one_owner(self) -> tuple[ScriptedMiner, ScriptedMiner]:
        """Return two new miners of one owner."""
        able = capabilities()
        able["services"][SERVICE]["features"] = {"audits": True}
        first, second = ScriptedMiner(self.served.url), ScriptedMiner(self.served.url)
        _open_enrolment(self.served, False)
        for miner in (first, second):
            made = self.admin.post("/v1/admin/enrolments", json={"uses": 1, "owner": "alice"}).json()
            answer = miner.register(capabilities=able, enrolment_token=made["enrolment_token"])
            self.keys[miner.miner_id] = answer.raise_for_status().json()["api_key"]
        _open_enrolment(self.served, True)
        return first, second

    def work(
        self,
        miner: ScriptedMiner,
        results: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        stated: dict[str, Any] | None = None,
        **options: Any,
    ) -> str:
        """Submit a job while only this miner asks for work, and have it deliver these results. Return the job's id.

        `stated` changes the statement.
        """
        body = {"type": SERVICE, "parameters": {**WHISPER, **(parameters or {})}, **options}
        job_id = str(self.client.post("/v1/jobs", json=body).raise_for_status().json()["job_id"])
        lease = next(lease for lease in miner.poll(4) if lease["job_id"] == job_id)
        miner.complete(lease, results, **(stated or {})).raise_for_status()
        return job_id

    def advance(self) -> None:
        self.served.do(ADVANCE)

    def answer(self, auditor: ScriptedMiner, verdict: str, **more: Any) -> dict[str, Any]:
        """Have an auditor answer the audit job that waits for it. Return its lease."""
        self.advance()
        (lease,) = auditor.poll(1)
        results = {"verdict": verdict, **FOUND, "units": 1, "processing_time": 0.5, **more}
        auditor.complete(lease, results).raise_for_status()
        self.advance()
        return lease

    def audit(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}/audit").raise_for_status().json()
        return found

    def of_miner(self, miner: ScriptedMiner) -> list[dict[str, Any]]:
        return self._shown(miner)["audits"]

    def record(self, miner: ScriptedMiner, role: str = "miner") -> dict[str, Any]:
        """Return what audits have shown of a miner or an auditor."""
        return next(known for known in self._shown(miner)["proofs"] if known["role"] == role)

    def _shown(self, miner: ScriptedMiner) -> dict[str, Any]:
        owner = {"X-API-Key": self.keys[miner.miner_id]}
        path = f"{self.served.url}/v1/miners/{miner.miner_id}/audits"
        shown: dict[str, Any] = httpx.get(path, headers=owner).raise_for_status().json()
        return shown

    def balance(self, account: str) -> Decimal:
        units = self.served.do(lambda context: context.database.read(ledger.balance, account))
        return Decimal(units) / 10**8

    def reputation(self, miner: ScriptedMiner) -> float:
        return float(self.client.get(f"/v1/miners/{miner.miner_id}/stats").json()["reputation"])

    def check(self) -> None:
        """The books balance, and the log has every verdict."""
        found = self.served.do(
            lambda context: context.database.read(fsck.examine, context.signer.vkey, {}, EXAMINERS)
        )
        assert found.problems == []

    def fails(
        self, worker: ScriptedMiner, auditors: tuple[ScriptedMiner, ScriptedMiner], **options: Any
    ) -> str:
        """Have a miner lie, and two auditors find it. Return the job's id."""
        job_id = self.work(worker, LIE, **options)
        for auditor in auditors:
            self.answer(auditor, "fail")
        return job_id


def _open_enrolment(served: Served, value: bool) -> None:
    changed = served.context.settings.model_copy(update={"open_enrolment": value})
    object.__setattr__(served.context, "settings", changed)


@contextmanager
def staged(tmp_path: Path, **settings: Any) -> Iterator[Stage]:
    chosen = {"least_share": 1.0, "recheck_share": 0.0, "second_opinion_seconds": 0.0, **settings}
    with serve(tmp_path, open_enrolment=True, fee_percent=10, audits=chosen) as served:
        yield Stage(served)


@contextmanager
def stopped() -> Iterator[None]:
    """Stop the rounds in the background; those of the test itself go on."""
    submit_due = canaries.submit_due

    async def of_the_test(context: Context) -> int:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "audits":
            raise RuntimeError("the rounds in the background are stopped")
        return await submit_due(context)

    vars(canaries)["submit_due"] = of_the_test
    try:
        yield
    finally:
        vars(canaries)["submit_due"] = submit_due


@contextmanager
def comparing(served: Served, cost: Any) -> Iterator[None]:
    """Have the service declare a comparer."""
    services: dict[str, Any] = dict(served.context.catalogue.services)
    before = served.context.catalogue.services
    services[SERVICE] = replace(services[SERVICE], comparer=Comparer("The words are compared.", cost))
    object.__setattr__(served.context.catalogue, "services", services)
    try:
        yield
    finally:
        object.__setattr__(served.context.catalogue, "services", before)
