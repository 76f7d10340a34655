"""The caller's key, and other keys of its account."""

from __future__ import annotations

from pathlib import Path

import httpx

from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve


def asking(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_every_key_can_query_its_owner(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    own = client.get("/v1/key").json()
    assert own["role"] == "client"
    assert own["account_id"] == client.get("/v1/wallet").json()["account_id"]
    assert "miner_id" not in own
    assert admin.get("/v1/key").json()["role"] == "admin"
    owner = asking(served, miner.registration["api_key"])
    assert owner.get("/v1/key").json()["miner_id"] == miner.miner_id


def test_a_key_that_revokes_itself_is_invalid_at_once(served: Served, client: httpx.Client) -> None:
    new = client.post("/v1/keys", json={"name": "dashboard"}).json()
    dashboard = asking(served, new["key"])
    assert dashboard.delete("/v1/key").status_code == 204
    assert code(dashboard.get("/v1/key")) == (401, "UNAUTHORIZED")
    assert client.get("/v1/key").status_code == 200


def test_a_client_creates_lists_and_revokes_keys_of_its_own_account_only(
    served: Served, client: httpx.Client
) -> None:
    new = client.post("/v1/keys", json={"name": "laptop"})
    assert new.status_code == 201
    assert new.json()["role"] == "client"
    laptop, other = asking(served, new.json()["key"]), asking(served, served.other_key)
    assert laptop.get("/v1/wallet").json() == client.get("/v1/wallet").json()
    listed = client.get("/v1/keys").json()
    assert [key["name"] for key in listed["keys"]] == ["tester", "laptop"]
    assert all("key" not in key for key in listed["keys"])
    assert [key["name"] for key in other.get("/v1/keys").json()["keys"]] == ["somebody else"]

    path = f"/v1/keys/{new.json()['key_id']}"
    assert code(other.delete(path)) == (404, "NOT_FOUND")
    assert code(laptop.delete(path)) == (409, "CONFLICT")  # not by mistake: it would be logged out
    assert client.delete(path).status_code == 204
    assert laptop.get("/v1/wallet").status_code == 401
    assert code(client.delete(path)) == (404, "NOT_FOUND")
    assert [key["name"] for key in client.get("/v1/keys").json()["keys"]] == ["tester"]


def test_only_accounts_have_further_keys(served: Served, admin: httpx.Client, miner: ScriptedMiner) -> None:
    assert code(admin.post("/v1/keys", json={"name": "a"})) == (409, "CONFLICT")
    owner = asking(served, miner.registration["api_key"])
    assert code(owner.post("/v1/keys", json={"name": "a"})) == (403, "FORBIDDEN")


def test_an_account_has_a_limit_of_keys(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "data", max_keys_per_account=2) as served,
        asking(served, served.client_key) as client,
    ):
        first = client.post("/v1/keys", json={"name": "first"}).json()
        assert client.get("/v1/keys").json()["limit"] == 2
        assert code(client.post("/v1/keys", json={"name": "second"})) == (409, "CONFLICT")
        client.delete(f"/v1/keys/{first['key_id']}")
        assert client.post("/v1/keys", json={"name": "second"}).status_code == 201
