"""With whom a miner may share computed prompts: its leases say it with a salt that reveals no account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

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
    able["services"][SERVICE]["models"] = [NAME]
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
    with serve(path, open_enrolment=True, **settings) as served:
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
