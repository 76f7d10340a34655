"""With whom a miner may share computed prompts: its leases say it with a salt that reveals no account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from agent.coordinator.features.audits.rounds import advancing
from agent.core import nonces
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.inputs.language_models import NAME
from support.server import Served, serve

SERVICE = "llm_inference"
RESULTS = {
    "text": "Paris",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "units": 2,
    "processing_time": 0.5,
}


def miner(served: Served) -> ScriptedMiner:
    able = capabilities()
    able["services"][SERVICE] |= {"models": [NAME], "features": {"audits": True}}
    found = ScriptedMiner(served.url)
    found.register(capabilities=able).raise_for_status()
    return found


def submitted(served: Served, key: str, **more: Any) -> str:
    body = {"type": SERVICE, "parameters": {"model": NAME, "prompt": "Hello"}, **more}
    answer = httpx.post(f"{served.url}/v1/jobs", json=body, headers={"X-API-Key": key}).raise_for_status()
    return str(answer.json()["job_id"])


def lease_for(served: Served, key: str, target: ScriptedMiner) -> dict[str, Any]:
    job_id = submitted(served, key)
    return next(lease for lease in target.poll(4) if lease["job_id"] == job_id)


@contextmanager
def served_at(path: Path, **settings: Any) -> Iterator[Served]:
    chosen = {"least_share": 1.0, "canaries_per_day": 1000}
    with serve(path, open_enrolment=True, audits=chosen, **settings) as served:
        yield served


def test_attack_only_leases_of_one_account_may_share_and_only_on_one_machine(tmp_path: Path) -> None:
    with served_at(tmp_path) as served:
        first, second = miner(served), miner(served)
        mine, again, elsewhere = (
            lease_for(served, served.client_key, one)["cache_salt"] for one in (first, first, second)
        )
        others = lease_for(served, served.other_key, first)["cache_salt"]
        assert mine == again
        assert len({mine, elsewhere, others}) == 3
        account = httpx.get(f"{served.url}/v1/wallet", headers={"X-API-Key": served.client_key}).json()
        assert account["account_id"] not in repr(first.leases)
        transcription = {
            "type": "whisper_transcription",
            "parameters": {"audio_url": "https://example.com/a.mp3", "model": "base"},
        }
        submitted(served, served.client_key, **transcription)
        (lease,) = first.poll(4)
        assert "cache_salt" not in lease  # nothing is reused there, so nothing is revealed


def test_accounts_share_where_the_operator_says_so(tmp_path: Path) -> None:
    with served_at(tmp_path, share_prompt_caches=True) as served:
        target = miner(served)
        keys = (served.client_key, served.other_key)
        assert len({lease_for(served, key, target)["cache_salt"] for key in keys}) == 1


def test_a_salt_lasts_for_a_day() -> None:
    of_day = [nonces.cache_salt(b"key", "miner_1", "account_1", now) for now in (0, 86_399, 86_400)]
    assert of_day[0] == of_day[1] != of_day[2]


def test_attack_a_salt_gives_no_canary_away_and_audits_share_nothing(tmp_path: Path) -> None:
    """A canary looks like another job of an account that the miner knows."""
    with served_at(tmp_path) as served:
        miners = [miner(served), miner(served)]
        salts: dict[str, set[str]] = {one.miner_id: set() for one in miners}
        jobs = set()
        for key in (served.client_key, served.other_key):
            for one in miners:
                lease = lease_for(served, key, one)
                one.complete(lease, RESULTS).raise_for_status()
                jobs.add(lease["job_id"])
                salts[one.miner_id].add(lease["cache_salt"])
        served.do(advancing.advance)
        checks = {lease["job_id"]: lease["cache_salt"] for one in miners for lease in one.poll(8, wait=1.5)}
        assert len(set(checks.values()) - set().union(*salts.values())) == len(checks) > 0
        admin = {"X-API-Key": served.admin_key}
        canary = {"job_id": min(jobs)}
        httpx.post(f"{served.url}/v1/admin/canaries", json=canary, headers=admin).raise_for_status()
        served.do(lambda context: context.database.write(make_due))
        served.do(advancing.advance)
        (found,) = (
            (one, lease)
            for one in miners
            for lease in one.poll(8, wait=1.5)
            if lease["job_id"] not in jobs | checks.keys() and lease["spec"].get("audit") is None
        )
        assert found[1]["cache_salt"] in salts[found[0].miner_id]


def make_due(connection: Any) -> None:
    connection.execute(text("UPDATE canaries SET due_at = 1"))
