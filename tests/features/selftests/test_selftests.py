"""Self-tests of miners: shown to owners and clients, and required of miners that join."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import serve

CARD = {"uuid": "GPU-1", "figures": {"memory_checked": 24e9, "temperature": 71}}


def selftest(verdict: str = "passed", *, days: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {
        "verdict": verdict, "began_at": time.time() - days * 86_400, "seconds": 240.5, "agent_version": "0.2.0",
        "problems": [], "figures": {}, "cards": [CARD], **fields,
    }  # fmt: skip


def test_owners_see_all_of_it_and_clients_the_verdict(client: httpx.Client, miner: ScriptedMiner) -> None:
    """A miner that reports none has none, as older agents."""
    with httpx.Client(
        base_url=client.base_url, headers={"X-API-Key": miner.registration["api_key"]}, timeout=120
    ) as owner:
        assert owner.get(f"/v1/miners/{miner.miner_id}").json()["selftest"] is None
        reported = selftest("failed", problems=["GPU 0: The memory is damaged."], began_at=1.75e9)
        announced = {**capabilities(), "selftest": reported}
        beat = miner.http.post("/heartbeat", json={"leases": [], "capabilities": announced})
        assert beat.status_code == 200, beat.text
        shown = owner.get(f"/v1/miners/{miner.miner_id}").json()["selftest"]
    assert shown == {**reported, "began_at": "2025-06-15T15:06:40.000Z"}
    (listed,) = client.get("/v1/marketplace/miners").json()["miners"]
    assert listed["selftest"] == {"verdict": "failed", "began_at": "2025-06-15T15:06:40.000Z"}


def test_a_moment_that_is_no_date_is_refused(miner: ScriptedMiner) -> None:
    """It could not be shown afterwards."""
    announced = {**capabilities(), "selftest": selftest(began_at=1e300)}
    beat = miner.http.post("/heartbeat", json={"leases": [], "capabilities": announced})
    assert beat.status_code == 422


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        (None, "reports none"),
        (selftest("failed", problems=["The memory is damaged."]), "failed: The memory is damaged."),
        (selftest(days=8), "older than 7 days"),
        (selftest(days=6), None),
    ],
    ids=["none", "failed", "old", "passed"],
)
def test_a_miner_joins_only_with_a_passed_test_if_the_operator_wants_it(
    tmp_path: Path, reported: dict[str, Any] | None, reason: str | None
) -> None:
    with serve(tmp_path / "data", open_enrolment=True, require_selftest=True) as served:
        miner = ScriptedMiner(served.url)
        answer = miner.register(capabilities={**capabilities(), "selftest": reported})
        if reason is None:
            assert answer.status_code == 200
            # Once it has joined it stays, also while its result becomes older.
            later = {**capabilities(), "selftest": selftest("failed")}
            assert miner.register(capabilities=later).status_code == 200
        else:
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (403, "FORBIDDEN")
            assert reason in error["message"]
            assert "aitbc-agent selftest" in error["message"]


def test_without_the_setting_every_miner_joins(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True) as served:
        assert ScriptedMiner(served.url).register().status_code == 200
