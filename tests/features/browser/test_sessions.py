"""Browser sessions: a cookie that scripts cannot read and other sites cannot use."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from agent.coordinator.features.browser import sessions as browser_sessions
from agent.coordinator.features.browser import store
from agent.coordinator.operations.context import Context
from agent.coordinator.store import access
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve

JOB = {"audio_url": "https://example.com/a.mp3", "model": "base"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def sign_in(served: Served, body: dict[str, str], **headers: str) -> httpx.Response:
    return httpx.post(f"{served.url}/v1/session", json=body, headers=headers, timeout=120)


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return morsel


def browser(served: Served, answer: httpx.Response, role: str = "client") -> httpx.Client:
    """A signed-in page of the dashboard."""
    morsel = cookie_of(answer)
    headers = {
        "Cookie": f"{morsel.key}={morsel.value}", "X-Session-Role": role, "Origin": served.url,
        "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": answer.json()["csrf_token"],
    }  # fmt: skip
    return httpx.Client(base_url=served.url, headers=headers, timeout=120)


@pytest.fixture
def signed_in(served: Served) -> httpx.Response:
    return sign_in(served, {"key": served.client_key}).raise_for_status()


@pytest.fixture
def page(served: Served, signed_in: httpx.Response) -> Iterator[httpx.Client]:
    with browser(served, signed_in) as page:
        yield page


def without(page: httpx.Client, *names: str, **more: str) -> httpx.Client:
    dropped = {*names, *(name.lower() for name in more)}
    headers = {name: value for name, value in page.headers.items() if name not in dropped}
    return httpx.Client(base_url=page.base_url, headers={**headers, **more}, timeout=120)


def link(operator: httpx.Client, **gives: Any) -> str:
    token: str = operator.post("/v1/admin/logins", json=gives).raise_for_status().json()["token"]
    return token


def later(context: Context, seconds: float) -> Context:
    return dataclasses.replace(context, clock=lambda: context.clock() + seconds)


def test_the_cookie_is_inaccessible_to_scripts_and_other_sites(
    served: Served, signed_in: httpx.Response
) -> None:
    """It is the browser's only secret; the answer's body contains neither it nor a key."""
    morsel = cookie_of(signed_in)
    assert (morsel["httponly"], morsel["samesite"].lower(), morsel["path"]) == (True, "strict", "/")
    assert int(morsel["max-age"]) == served.context.settings.session_seconds
    assert morsel.value not in signed_in.text
    assert served.client_key not in signed_in.text
    assert signed_in.headers["cache-control"] == "no-store"


def test_behind_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    with serve(tmp_path / "data", trusted_proxies=["127.0.0.1"]) as served:
        answer = sign_in(served, {"key": served.client_key}, **{"X-Forwarded-Proto": "https"})
        morsel = cookie_of(answer)
        assert morsel["secure"]
        assert morsel.key.startswith("__Host-")


def test_a_session_has_the_rights_of_its_key(page: httpx.Client, client: httpx.Client) -> None:
    own = page.get("/v1/key")
    assert own.json() == client.get("/v1/key").json()
    job_id = page.post("/v1/services/whisper/transcribe", json=JOB).raise_for_status().json()["job_id"]
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
    shown = page.get("/v1/session").json()
    assert [key["role"] for key in shown["keys"]] == ["client"]
    assert code(page.get("/v1/admin/keys")) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("dropped", "added"),
    [
        ((), {"Sec-Fetch-Site": "cross-site"}),
        ((), {"Sec-Fetch-Site": "same-site"}),
        (("sec-fetch-site",), {"Origin": "https://evil.example"}),
        (("sec-fetch-site",), {"Origin": "null"}),
        (("x-csrf-token",), {}),
        ((), {"X-CSRF-Token": "guess"}),
    ],
)
def test_another_site_cannot_use_the_session(
    page: httpx.Client, dropped: tuple[str, ...], added: dict[str, str]
) -> None:
    """Neither with a form, nor with a script of another origin or another port of this machine."""
    with without(page, *dropped, **added) as foreign:
        assert code(foreign.post("/v1/services/whisper/transcribe", json=JOB)) == (403, "FORBIDDEN")
        assert code(foreign.post("/v1/artifacts", content=b"theirs")) == (403, "FORBIDDEN")
        assert code(foreign.delete("/v1/key")) == (403, "FORBIDDEN")
        assert code(foreign.delete("/v1/session")) == (403, "FORBIDDEN")
    assert page.get("/v1/jobs").json()["total"] == 0
    assert page.get("/v1/session").status_code == 200


def test_the_cookie_alone_authenticates_no_request(served: Served, page: httpx.Client) -> None:
    """A link or an image sends the cookie, but cannot name a role."""
    with without(page, "x-session-role") as plain:
        assert code(plain.get("/v1/jobs")) == (401, "UNAUTHORIZED")
        assert code(plain.post("/v1/artifacts", content=b"theirs")) == (401, "UNAUTHORIZED")
    with without(page, **{"X-Session-Role": "admin"}) as greedy:
        assert code(greedy.get("/v1/admin/keys")) == (401, "UNAUTHORIZED")


def test_signing_in_from_another_site_is_refused(served: Served) -> None:
    """Otherwise a page could sign the browser in to another account."""
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = sign_in(served, {"key": served.client_key}, **headers)
        assert code(answer) == (403, "FORBIDDEN")
        assert "set-cookie" not in answer.headers


def test_keys_in_headers_need_no_token_and_take_precedence_over_the_cookie(
    served: Served, page: httpx.Client
) -> None:
    with without(page, "x-csrf-token", Authorization=f"Bearer {served.other_key}") as both:
        assert both.post("/v1/services/whisper/transcribe", json=JOB).status_code == 201
    assert page.get("/v1/jobs").json()["total"] == 0
    foreign = {"X-API-Key": served.client_key, "Origin": "https://other.example"}
    assert httpx.post(f"{served.url}/v1/artifacts", content=b"a", headers=foreign).status_code == 201


def test_signing_out_ends_the_session_at_once(
    served: Served, page: httpx.Client, client: httpx.Client
) -> None:
    """The key that began the session stays valid."""
    assert page.get("/v1/jobs").status_code == 200
    answer = page.delete("/v1/session")
    assert answer.status_code == 204
    assert cookie_of(answer).value == ""
    assert code(page.get("/v1/jobs")) == (401, "UNAUTHORIZED")
    assert page.get("/v1/session").status_code == 204
    assert client.get("/v1/key").status_code == 200


def test_a_login_links_keys_are_never_shown_and_end_with_the_session(
    served: Served, admin: httpx.Client, client: httpx.Client, miner: ScriptedMiner
) -> None:
    account = client.get("/v1/key").json()["account_id"]
    token = link(admin, account_id=account, miner_id=miner.miner_id, admin=True)
    answer = sign_in(served, {"token": token})
    assert {key["role"] for key in answer.json()["keys"]} == {"client", "miner", "admin"}
    assert "aitbc_" not in answer.text
    assert code(sign_in(served, {"token": token})) == (401, "UNAUTHORIZED")
    for role in ("client", "miner", "admin"):
        with browser(served, answer, role) as page:
            assert page.get("/v1/key").json()["role"] == role
    assert len(client.get("/v1/keys").json()["keys"]) == 2
    with browser(served, answer) as page:
        assert page.delete("/v1/session").status_code == 204
    assert [key["name"] for key in client.get("/v1/keys").json()["keys"]] == ["tester"]


def test_revoking_its_key_ends_the_rights_of_a_session(served: Served, client: httpx.Client) -> None:
    """Also if the session itself revokes it, with `DELETE /v1/key`."""
    new = client.post("/v1/keys", json={"name": "laptop"}).json()
    with browser(served, sign_in(served, {"key": new["key"]})) as laptop:
        assert laptop.get("/v1/key").json()["key_id"] == new["key_id"]
        assert laptop.delete("/v1/key").status_code == 204
        assert code(laptop.get("/v1/key")) == (401, "UNAUTHORIZED")
        assert laptop.get("/v1/session").status_code == 204


def test_sessions_are_listed_and_ended_by_their_owner_only(
    served: Served, page: httpx.Client, client: httpx.Client, admin: httpx.Client
) -> None:
    (shown,) = client.get("/v1/sessions").json()["sessions"]
    assert "csrf_token" not in shown
    path = f"/v1/sessions/{shown['session_id']}"
    with httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}) as other:
        assert other.get("/v1/sessions").json()["sessions"] == []
        assert code(other.delete(path)) == (404, "NOT_FOUND")
    assert [one["session_id"] for one in admin.get("/v1/sessions").json()["sessions"]] == [
        shown["session_id"]
    ]
    assert client.delete(path).status_code == 204
    assert code(page.get("/v1/jobs")) == (401, "UNAUTHORIZED")


def test_a_session_survives_a_restart_and_only_its_digest_is_stored(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        answer = sign_in(served, {"key": served.client_key})
        secret = cookie_of(answer).value
        with browser(served, answer) as page:
            name = page.headers["cookie"].partition("=")[0]
    stored = b"".join(
        path.read_bytes() for path in (tmp_path / "data/coordinator").iterdir() if path.is_file()
    )
    assert secret.encode() not in stored
    with serve(tmp_path / "data") as served:
        port = served.url.rpartition(":")[2]
        headers = {"Cookie": f"{name.rpartition('_')[0]}_{port}={secret}", "X-Session-Role": "client"}
        assert httpx.get(f"{served.url}/v1/jobs", headers=headers).status_code == 200


def test_a_session_expires(
    served: Served, page: httpx.Client, admin: httpx.Client, client: httpx.Client
) -> None:
    """And so do the keys that were created for it."""
    account = client.get("/v1/key").json()["account_id"]
    sign_in(served, {"token": link(admin, account_id=account)}).raise_for_status()
    assert len(client.get("/v1/keys").json()["keys"]) == 2

    async def expire(context: Context) -> None:
        seconds = context.settings.session_seconds + 1
        await browser_sessions.expire_due(later(context, seconds))

    served.do(expire)
    assert client.get("/v1/sessions").json()["sessions"] == []
    assert len(client.get("/v1/keys").json()["keys"]) == 1
    assert code(page.get("/v1/jobs")) == (401, "UNAUTHORIZED")


def test_keys_that_were_revoked_long_ago_are_deleted(
    served: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PRUNED_AT_ONCE", 2)
    valid = {key.key_id for key in served.do(lambda context: context.database.read(access.keys))}
    made_keys = [client.post("/v1/keys", json={"name": f"key {number}"}).json() for number in range(6)]
    used = httpx.post(f"{served.url}/v1/session", json={"key": made_keys[0]["key"]})
    assert used.is_success
    for key in made_keys:
        assert client.delete(f"/v1/keys/{key['key_id']}").status_code == 204

    async def remaining(context: Context, days: float) -> set[str]:
        await browser_sessions.delete_keys(later(context, days * 86_400))
        return {key.key_id for key in await context.database.read(access.keys)}

    assert served.do(lambda context: remaining(context, 29)) == valid | {key["key_id"] for key in made_keys}
    assert served.do(lambda context: remaining(context, 31)) == valid | {made_keys[0]["key_id"]}
    assert client.get("/v1/key").status_code == 200


def test_signing_in_with_another_role_retains_the_previous_roles(
    served: Served, signed_in: httpx.Response, page: httpx.Client
) -> None:
    """With the session's token. The old cookie becomes invalid."""
    answer = page.post("/v1/session", json={"key": served.admin_key})
    assert {key["role"] for key in answer.json()["keys"]} == {"client", "admin"}
    assert cookie_of(answer).value != cookie_of(signed_in).value
    with browser(served, answer, "admin") as operator:
        assert operator.get("/v1/admin/keys").status_code == 200
    with browser(served, answer) as again:
        assert again.get("/v1/jobs").status_code == 200
    assert code(page.get("/v1/jobs")) == (401, "UNAUTHORIZED")


def last_error(socket: ClientConnection) -> tuple[str, int | None]:
    """The code of the error with which the coordinator closes a connection, and the closing code."""
    message: dict[str, Any] = {}
    with suppress(ConnectionClosed):
        while True:
            message = orjson.loads(socket.recv(timeout=300))
    return message["error"]["code"], socket.close_code


def socket_address(served: Served, role: str = "client") -> str:
    return f"{served.url.replace('http', 'ws')}/ws?role={role}"


def test_the_websocket_accepts_the_cookie_from_a_page_of_this_origin(
    served: Served, page: httpx.Client, client: httpx.Client
) -> None:
    cookie = {"Cookie": page.headers["cookie"]}
    with connect(socket_address(served), additional_headers=cookie, origin=served.url) as socket:
        job_id = submit(client)
        assert orjson.loads(socket.recv(timeout=300))["data"]["job_id"] == job_id
        assert page.delete("/v1/session").status_code == 204
        assert last_error(socket) == ("UNAUTHORIZED", 4401)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1"])
def test_the_websocket_refuses_pages_of_other_sites(served: Served, page: httpx.Client, origin: Any) -> None:
    """Before the connection opens."""
    cookie = {"Cookie": page.headers["cookie"]}
    with pytest.raises(InvalidStatus, match="HTTP 403"):
        connect(socket_address(served), additional_headers=cookie, origin=origin).__enter__()


def test_the_websocket_does_not_accept_a_cookie_without_an_origin(served: Served, page: httpx.Client) -> None:
    """Browsers always name the origin that opens a WebSocket."""
    cookie = {"Cookie": page.headers["cookie"]}
    with connect(socket_address(served), additional_headers=cookie) as socket:
        assert last_error(socket) == ("FORBIDDEN", 4403)


def test_the_cookie_authenticates_a_jobs_events(
    page: httpx.Client, client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    with page.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
        assert '"cancelled"' in stream.read().decode()
    with without(page, **{"Sec-Fetch-Site": "cross-site"}) as foreign:
        assert code(foreign.get(f"/v1/jobs/{job_id}/events")) == (403, "FORBIDDEN")


def test_invalid_cookies_do_not_lock_out_other_callers(tmp_path: Path) -> None:
    """A browser retains the cookie of a session that has ended."""
    limits = {"failures": "2 per minute", "unlimited": []}
    with serve(tmp_path / "data", rate_limits=limits) as served:
        answer = sign_in(served, {"key": served.client_key})
        name = cookie_of(answer).key
        stale = {"Cookie": f"{name}=ended", "X-Session-Role": "client"}
        for _ in range(4):
            assert code(httpx.get(f"{served.url}/v1/jobs", headers=stale)) == (401, "UNAUTHORIZED")
        key = {"X-API-Key": served.other_key}
        assert httpx.get(f"{served.url}/v1/key", headers=key).status_code == 200
