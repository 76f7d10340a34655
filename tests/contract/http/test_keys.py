"""The caller's key, other keys of its account, and login links."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.operations.accounts import logins
from agent.coordinator.operations.context import Context
from agent.core.errors import Unauthorized
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve


def asking(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=30)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def link(operator: httpx.Client, **gives: Any) -> str:
    answer = operator.post("/v1/admin/logins", json=gives)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    assert answer.json()["path"] == f"/dashboard/#login={token}"
    return token


def log_in(served: Served, token: str) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/login", json={"token": token}, timeout=30)


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


def test_a_login_link_yields_new_keys_once(served: Served, admin: httpx.Client, miner: ScriptedMiner) -> None:
    account = asking(served, served.client_key).get("/v1/key").json()["account_id"]
    token = link(admin, account_id=account, miner_id=miner.miner_id, admin=True)
    answer = log_in(served, token)
    assert answer.status_code == 200
    given = {key["role"]: key for key in answer.json()["keys"]}
    assert given.keys() == {"client", "miner", "admin"}
    for role, key in given.items():
        shown = asking(served, key["key"]).get("/v1/key").json()
        assert (shown["role"], shown["key_id"]) == (role, key["key_id"])
        assert shown["name"].startswith("dashboard 20")
    assert code(log_in(served, token)) == (401, "UNAUTHORIZED")


def test_a_login_link_yields_only_the_named_keys(
    served: Served, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    """It yields an administrator's key only on request, or if no other key is named."""
    roles = [
        [key["role"] for key in log_in(served, link(admin, **gives)).json()["keys"]]
        for gives in ({"miner_id": miner.miner_id}, {})
    ]
    assert roles == [["miner"], ["admin"]]
    assert code(admin.post("/v1/admin/logins", json={"account_id": "account_none"})) == (404, "NOT_FOUND")


def test_a_login_link_used_many_times_at_once_works_once(served: Served, admin: httpx.Client) -> None:
    token = link(admin)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: log_in(served, token).status_code, range(8)))
    assert sorted(answers) == [200] + [401] * 7


def test_an_expired_login_link_is_refused(served: Served, admin: httpx.Client) -> None:
    token = link(admin)
    later = time.time() + served.context.settings.login_seconds + 1

    async def refused(context: Context) -> None:
        with pytest.raises(Unauthorized, match="too old"):
            await logins.login(replace(context, clock=lambda: later), token)

    served.do(refused)


def test_guessed_tokens_do_not_lock_out_callers_with_a_key(tmp_path: Path) -> None:
    """Logins have their own budget, so only further guesses are refused."""
    limits = {"logins": "5 per minute", "unlimited": []}
    with serve(tmp_path / "data", rate_limits=limits) as served, asking(served, served.admin_key) as admin:
        token = link(admin)
        tried = [code(log_in(served, f"made up {number}")) for number in range(6)]
        assert tried == [(401, "UNAUTHORIZED")] * 5 + [(429, "RATE_LIMIT_EXCEEDED")]
        assert asking(served, served.client_key).get("/v1/key").status_code == 200  # not seen before
        assert code(log_in(served, token)) == (429, "RATE_LIMIT_EXCEEDED")
