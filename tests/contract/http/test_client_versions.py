"""Client libraries that are too old learn what to update; every answer states the coordinator's version."""

from __future__ import annotations

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agent import __version__
from support.server import Served


@pytest.mark.parametrize("client", ["aitbc-python/0.1.0", "aitbc-javascript/0.1.9 (linux)"])
def test_a_library_that_is_too_old_learns_what_to_update(client: str, served: Served) -> None:
    """Also by WebSocket. The health answers it, with the oldest version that is served."""
    answer = httpx.post(f"{served.url}/v1/jobs", headers={"User-Agent": client}, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CLIENT_OUTDATED")
    assert "serves clients from version 0.2 on. Update the library" in answer.json()["error"]["message"]
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"{served.url.replace('http', 'ws', 1)}/v1/stream", user_agent_header=client),
    ):
        pass
    assert refused.value.response.status_code == 409
    for path in ("/v1/health", "/api/v1/health"):
        health = httpx.get(f"{served.url}{path}", headers={"User-Agent": client})
        assert (health.status_code, health.json()["oldest_client"]) == (200, "0.2")


@pytest.mark.parametrize(
    "client",
    [
        "aitbc-python/0.2.0",
        f"aitbc-python/{__version__}",
        "aitbc-python/99.0.0",
        "curl/8",
        "aitbc-agent",
        "aitbc-python/x",
    ],
)
def test_other_clients_are_served(client: str, served: Served) -> None:
    answer = httpx.get(f"{served.url}/v1/registry/services", headers={"User-Agent": client})
    assert answer.status_code == 200
    assert answer.headers["x-aitbc-version"] == __version__


@pytest.mark.parametrize("path", ["/v1/registry/services", "/v1/none", "/v1/wallet", "/a%01"])
def test_every_answer_states_the_coordinators_version(path: str, served: Served) -> None:
    assert httpx.get(f"{served.url}{path}").headers["x-aitbc-version"] == __version__
