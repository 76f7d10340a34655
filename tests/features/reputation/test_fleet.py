"""All machines of one owner: seen and commanded with the key of any of them, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A coordinator that requires tokens."""
    with serve(tmp_path / "data") as served:
        yield served


def joined(served: Served, admin: httpx.Client, name: str, owner: str | None) -> ScriptedMiner:
    body = {"uses": 1, "owner": owner} if owner else {"uses": 1}
    token = admin.post("/v1/admin/enrolments", json=body).raise_for_status().json()["enrolment_token"]
    miner = ScriptedMiner(served.url)
    assert miner.register(enrolment_token=token, name=name).status_code == 200
    return miner


def owner_of(served: Served, miner: ScriptedMiner) -> httpx.Client:
    return httpx.Client(
        base_url=served.url, headers={"X-API-Key": miner.registration["api_key"]}, timeout=120
    )


def fleet(owner: httpx.Client, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = owner.get("/v1/miners/fleet", params=query).raise_for_status().json()
    return found


def test_an_owner_sees_the_sum_and_each_machine(
    served: Served, admin: httpx.Client, client: httpx.Client
) -> None:
    first, second = joined(served, admin, "rig-1", "alice"), joined(served, admin, "rig-2", "alice")
    alone, other = joined(served, admin, "rig-3", None), joined(served, admin, "rig-4", "bob")
    for miner in (first, second):
        submit(client, miner_id=miner.miner_id)
        (lease,) = miner.poll()
        assert miner.complete(lease, {"text": "hello", "units": 10}).status_code == 200
    with owner_of(served, first) as owner:
        shown = fleet(owner, days=2)
        assert [(miner["name"], miner["total_earned"]) for miner in shown["miners"]] == [
            ("rig-2", "0.01"),
            ("rig-1", "0.01"),
        ]
        assert (shown["owner"], shown["online"], shown["gpus"], shown["slots"]) == ("alice", 2, 2, 8)
        assert (shown["earned_today"], shown["total_earned"]) == ("0.02", "0.02")
        assert [day["jobs"] for day in shown["days"]] == [0, 2]
        assert [miner["name"] for miner in owner.get("/v1/miners").json()["miners"]] == ["rig-2", "rig-1"]
        assert owner.get(f"/v1/miners/{second.miner_id}").json()["name"] == "rig-2"
        assert owner.post(f"/v1/miners/{second.miner_id}/pause").status_code == 202
        for stranger in (alone, other):
            assert owner.get(f"/v1/miners/{stranger.miner_id}").status_code == 404
            assert owner.post(f"/v1/miners/{stranger.miner_id}/pause").status_code == 404
    with owner_of(served, alone) as owner:
        assert [miner["name"] for miner in fleet(owner)["miners"]] == ["rig-3"]
        assert fleet(owner)["owner"] is None
    assert len(fleet(admin)["miners"]) == 4
    assert client.get("/v1/miners/fleet").status_code == 403


def test_a_removed_machine_leaves_the_fleet(served: Served, admin: httpx.Client) -> None:
    """Its own key is revoked with it, and the others no longer see it."""
    first, second = joined(served, admin, "rig-1", "alice"), joined(served, admin, "rig-2", "alice")
    assert admin.delete(f"/v1/admin/miners/{second.miner_id}").status_code in (200, 204)
    with owner_of(served, first) as owner:
        assert [miner["name"] for miner in fleet(owner)["miners"]] == ["rig-1"]
        assert owner.get(f"/v1/miners/{second.miner_id}").status_code == 404
