"""What administrators do is written down: each call of theirs that has changed something, by whom, and with what."""

from __future__ import annotations

from typing import Any

import httpx

from support.clients.scripted_miner import ScriptedMiner
from support.server import Served


def entries(admin: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    page = admin.get("/v1/admin/trail", params=query).raise_for_status().json()
    listed: list[dict[str, Any]] = page["entries"]
    return listed


def test_who_changed_what_is_listed_newest_first(
    served: Served, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    """Also calls by the compatible prefix. Reading, refused calls and other roles leave nothing."""
    start = len(entries(admin))
    account = admin.post("/v1/admin/accounts", json={"name": "ada"}).raise_for_status().json()["account_id"]
    admin.post(
        f"/api/v1/admin/accounts/{account}/credit", json={"amount": "10", "note": "paid by card"}
    ).raise_for_status()
    admin.get("/v1/admin/accounts").raise_for_status()
    assert admin.post(f"/v1/admin/accounts/{account}/credit", json={"amount": "many"}).status_code == 422
    assert admin.delete("/v1/admin/miners/miner_nobody").status_code == 404
    admin.post(f"/v1/admin/miners/{miner.miner_id}/exclude", json={"reason": "It lies."}).raise_for_status()
    miner.http.post("/heartbeat", json={"leases": [], "gpus": []})
    listed = entries(admin)
    assert len(listed) == start + 3
    excluded, credited, created = listed[:3]
    assert (created["action"], created["details"]) == ("Create an account", {"name": "ada"})
    assert credited["path"] == f"/v1/admin/accounts/{account}/credit"
    assert credited["details"] == {"amount": "10", "note": "paid by card"}
    assert excluded["details"] == {"reason": "It lies."}
    assert miner.miner_id in excluded["path"]
    assert {entry["key_name"] for entry in listed[:3]} == {"admin"}
    assert created["at"] <= credited["at"] <= excluded["at"]


def test_a_page_continues_before_its_last_entry(admin: httpx.Client) -> None:
    for number in range(3):
        admin.post("/v1/admin/accounts", json={"name": f"account {number}"}).raise_for_status()
    first = admin.get("/v1/admin/trail", params={"limit": 2}).raise_for_status().json()
    rest = entries(admin, limit=1, before=first["next"])
    assert [entry["details"]["name"] for entry in (*first["entries"], *rest)] == [
        "account 2",
        "account 1",
        "account 0",
    ]


def test_secrets_are_not_stored(served: Served, admin: httpx.Client) -> None:
    """Neither those of answers, nor a long or nested field of a request."""
    key = admin.post("/v1/admin/keys", json={"role": "admin", "name": "second"}).raise_for_status().json()
    token = admin.post("/v1/admin/enrolments", json={"note": "n" * 200}).raise_for_status().json()
    text = admin.get("/v1/admin/trail").text
    assert key["key"] not in text
    assert token["enrolment_token"] not in text
    second = httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {key['key']}"})
    second.post("/v1/admin/accounts", json={"name": "x"}).raise_for_status()
    assert entries(admin)[0]["key_name"] == "second"


def test_only_administrators_read_it(client: httpx.Client) -> None:
    assert client.get("/v1/admin/trail").status_code == 403
