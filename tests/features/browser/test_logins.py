"""Login links for the dashboard."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.browser import logins
from agent.coordinator.operations.context import Context
from agent.core.errors import Unauthorized
from aitbc.canonical import b64encode
from aitbc.dsse import sign_detached
from aitbc.keys import login_payload
from aitbc.statement import LOGIN_TYPE
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve


def asking(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def link(operator: httpx.Client, **gives: Any) -> str:
    answer = operator.post("/v1/admin/logins", json=gives)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    assert answer.json()["path"] == f"/dashboard/#login={token}"
    return token


def log_in(served: Served, token: str) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/login", json={"token": token}, timeout=120)


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
        with pytest.raises(Unauthorized, match="has expired"):
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


def signed(
    served: Served, miner: ScriptedMiner, log_key: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Return the proof that the miner's owner signs for a link."""
    nonce = miner.http.post("/challenge", json={}).json()["nonce"]
    public_key = bytes(miner.key.verify_key)
    payload = login_payload(nonce, log_key or served.context.signer.vkey, public_key)
    signature = sign_detached(LOGIN_TYPE, payload, miner.key)
    return {"nonce": nonce, "public_key": b64encode(public_key), "signature": signature, **changes}


def test_a_miners_key_signs_a_link_to_its_own_machine_once(served: Served, miner: ScriptedMiner) -> None:
    proof = signed(served, miner)
    answer = httpx.post(f"{served.url}/v1/logins/signed", json=proof, timeout=120)
    assert answer.status_code == 201, answer.text
    (key,) = log_in(served, answer.json()["token"]).json()["keys"]
    assert key["role"] == "miner"
    assert asking(served, key["key"]).get("/v1/key").json()["miner_id"] == miner.miner_id
    again = httpx.post(f"{served.url}/v1/logins/signed", json=proof, timeout=120)
    assert code(again) == (401, "UNAUTHORIZED")


def test_attack_a_signature_for_something_else_creates_no_link(served: Served, miner: ScriptedMiner) -> None:
    """Neither that of a registration, which other coordinators see, nor one for another coordinator, of another key or with an unknown nonce."""
    other = ScriptedMiner(served.url)
    registration = {name: miner.registration_body()[name] for name in ("nonce", "public_key", "signature")}
    elsewhere = served.context.signer.vkey[:-4] + "AAAA"
    proofs = [
        registration,
        signed(served, miner, elsewhere),
        signed(served, miner, signature=signed(served, other)["signature"]),
        signed(served, miner, nonce="invented"),
    ]
    for proof in proofs:
        answer = httpx.post(f"{served.url}/v1/logins/signed", json=proof, timeout=120)
        assert code(answer) == (401, "UNAUTHORIZED"), answer.text
    # A key that never joined has no page.
    unknown = httpx.post(f"{served.url}/v1/logins/signed", json=signed(served, other), timeout=120)
    assert code(unknown)[0] == 404


def test_an_excluded_or_removed_miner_gets_no_link(
    served: Served, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    admin.post(f"/v1/admin/miners/{miner.miner_id}/exclude", json={"reason": "It lies."}).raise_for_status()
    answer = httpx.post(f"{served.url}/v1/logins/signed", json=signed(served, miner), timeout=120)
    assert code(answer) == (403, "MINER_EXCLUDED")
    admin.post(f"/v1/admin/miners/{miner.miner_id}/include").raise_for_status()
    admin.delete(f"/v1/admin/miners/{miner.miner_id}").raise_for_status()
    answer = httpx.post(f"{served.url}/v1/logins/signed", json=signed(served, miner), timeout=120)
    assert answer.status_code == 404
