"""Two leaders that advance the same audit at the same time on PostgreSQL, as a paused one does beside its successor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from agent.coordinator import lifecycle
from agent.coordinator.features.audits.rounds import asking, deciding, settling
from agent.coordinator.features.audits.store import audits as store
from agent.coordinator.features.log.fsck import examine
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.store import ledger
from support.audits.stage import stopped
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served, serve
from support.servers.interleaving import overlapping

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("on_postgresql")]

SERVICE = "whisper_transcription"
LIE = {
    "text": "Goodbye",
    "segments": [],
    "language": "en",
    "duration": 2.0,
    "processing_time": 1.0,
    "units": 2,
}
FOUND = {"verdict": "fail", "distances": {}, "limits": {}, "where": "", "reason": "No.", "units": 1}
SETTINGS = {"enforce": True, "least_share": 1.0, "recheck_share": 0.0, "second_opinion_seconds": 0.0}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with stopped(), serve(tmp_path / "data", open_enrolment=True, audits=SETTINGS) as served:
        yield served


def miner(served: Served) -> ScriptedMiner:
    able = capabilities()
    able["services"][SERVICE]["features"] = {"audits": True}
    joined = ScriptedMiner(served.url)
    joined.register(capabilities=able).raise_for_status()
    return joined


def test_two_leaders_ask_decide_and_settle_an_audit_once(served: Served) -> None:
    url = served.context.database.server.url
    worker, *auditors = (miner(served) for _ in range(3))

    def rows(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def both(function: Any, step: Any, *arguments: Any, ids: Any = None) -> None:
        def call() -> Any:
            more = () if ids is None else (ids.of(served.context),)
            return served.do(lambda context: context.database.write(function, context, *arguments, *more))

        answers = overlapping(url, call, call, step)
        assert not [answer for answer in answers if isinstance(answer, Exception)]

    for _ in range(3):
        body = {"type": SERVICE, "parameters": {"audio_url": "https://example.com/a.mp3", "model": "base"}}
        key = {"X-API-Key": served.client_key}
        path = f"{served.url}/v1/jobs"
        httpx.post(path, json=body, headers=key).raise_for_status()
        (lease,) = worker.poll(1)
        worker.complete(lease, LIE).raise_for_status()
        ((root,),) = rows("SELECT audit_id FROM audits WHERE job_id = %s", lease["job_id"])
        for auditor in auditors:
            both(asking._ask, (lifecycle, "create"), root, ids=asking.NewIds)
            served.do(waking)
            (asked,) = auditor.poll(1)
            auditor.complete(asked, FOUND).raise_for_status()
            both(deciding._collect, (store, "change"), root, ids=deciding.FollowUp)
        both(settling._settle, (store, "change"), root)
    assert rows("SELECT count(*) FROM jobs WHERE account_id = 'account_audits'") == [(6,)]
    assert rows("SELECT count(*), sum(enforced) FROM audits WHERE root = audit_id") == [(3, 3)]
    assert rows("SELECT count(*) FROM transactions WHERE kind = 'forfeit'") == [(3,)]
    context = served.context
    assert context.database.read_now(ledger.problems) == []
    assert context.database.read_now(examine, context.signer.vkey, {}, EXAMINERS).problems == []


async def waking(context: Any) -> None:
    context.dispatcher.job_waiting()
