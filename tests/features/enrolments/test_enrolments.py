"""Enrolment tokens: listed without their secrets, revoked, and attributed to the miners that joined with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.core.values.quantities import format_time
from agent.protocol.join_code import parse_join_code
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A coordinator that requires tokens."""
    with serve(tmp_path / "data") as served:
        yield served


def create(admin: httpx.Client, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = admin.post("/v1/admin/enrolments", json=body).raise_for_status().json()
    return made


def listed(admin: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    page = admin.get("/v1/admin/enrolments", params=query).raise_for_status().json()
    found: list[dict[str, Any]] = page["enrolments"]
    return found


def test_a_token_is_listed_with_its_creator_and_its_miners(served: Served, admin: httpx.Client) -> None:
    """Its secret is in no answer but the first."""
    made = create(admin, uses=2, note="the new rack")
    miner = ScriptedMiner(served.url)
    assert miner.register(enrolment_token=made["enrolment_token"], name="rig-7").status_code == 200
    assert made["enrolment_token"] not in admin.get("/v1/admin/enrolments").text
    (token,) = listed(admin)
    assert (token["enrolment_id"], token["note"], token["status"]) == (
        made["enrolment_id"],
        "the new rack",
        "valid",
    )
    assert (token["uses"], token["uses_left"], token["expires_at"]) == (2, 1, made["expires_at"])
    assert token["created_by_name"] == "admin"
    assert token["used_at"] >= token["created_at"]
    assert token["miners"] == [{"miner_id": miner.miner_id, "name": "rig-7"}]


def test_a_new_token_comes_with_a_join_code_and_its_picture(served: Served, admin: httpx.Client) -> None:
    """The code names this coordinator as the request did. The list of tokens does not have it."""
    made = create(admin)
    code = parse_join_code(made["join_code"])
    assert code.url == served.url
    assert code.log_key == httpx.get(f"{served.url}/v1/health").json()["log_key"]
    assert code.enrolment_token == made["enrolment_token"]
    assert format_time(code.expires_at)[:16] == made["expires_at"][:16]
    assert made["join_picture"].startswith("data:image/svg+xml")
    (token,) = listed(admin)
    assert made["join_code"] not in str(token)


def test_a_revoked_token_admits_nobody_and_its_miners_stay(served: Served, admin: httpx.Client) -> None:
    made = create(admin, uses=5)
    joined, late = ScriptedMiner(served.url), ScriptedMiner(served.url)
    assert joined.register(enrolment_token=made["enrolment_token"]).status_code == 200
    for _ in range(2):  # revoking it again changes nothing
        assert admin.delete(f"/v1/admin/enrolments/{made['enrolment_id']}").status_code == 204
    (token,) = listed(admin)
    assert (token["status"], token["uses_left"]) == ("revoked", 4)
    refused = late.register(enrolment_token=made["enrolment_token"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert "revoked" in refused.json()["error"]["message"]
    assert joined.register().status_code == 200


def test_the_status_is_the_reason_for_which_a_token_no_longer_works(
    served: Served, admin: httpx.Client
) -> None:
    used, expired = create(admin), create(admin, valid_seconds=0.001)
    assert ScriptedMiner(served.url).register(enrolment_token=used["enrolment_token"]).status_code == 200
    found = {token["enrolment_id"]: token["status"] for token in listed(admin)}
    assert found == {used["enrolment_id"]: "used", expired["enrolment_id"]: "expired"}


def test_tokens_are_listed_in_pages(admin: httpx.Client) -> None:
    made = [create(admin)["enrolment_id"] for _ in range(3)]
    first = admin.get("/v1/admin/enrolments?limit=2").json()
    second = admin.get(f"/v1/admin/enrolments?limit=2&before={first['next']}").json()
    pages = [token["enrolment_id"] for page in (first, second) for token in page["enrolments"]]
    assert pages == made[::-1]
    assert second["next"] is None


def test_an_unknown_token_cannot_be_revoked(admin: httpx.Client) -> None:
    refused = admin.delete("/v1/admin/enrolments/enrolment_x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")
