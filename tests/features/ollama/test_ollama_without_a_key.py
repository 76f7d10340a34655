"""Programs of the coordinator's machine may use Ollama's paths without a key, if its operator allows it; pages and others may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.clients.openai_jobs import LLM, QUESTION, TEXT, answered, register
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve

CHAT = {"model": LLM, "messages": QUESTION, "stream": False}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A coordinator whose account `tester` programs of the machine use."""
    with serve(tmp_path_factory.mktemp("open"), ollama_account="tester", open_enrolment=True) as served:
        yield served


def test_a_key_is_needed_unless_the_operator_allows_otherwise(served: Served) -> None:
    answer = httpx.post(f"{served.url}/api/chat", json=CHAT)
    assert (answer.status_code, [*answer.json()]) == (401, ["error"])
    assert "OLLAMA_API_KEY" in answer.json()["error"]
    # Before the body is read, also if it is larger than those without a key may be.
    large = httpx.post(f"{served.url}/api/chat", content=b" " * 2**20)
    assert (large.status_code, "OLLAMA_API_KEY" in large.text) == (401, True)


def test_a_program_of_the_machine_acts_as_the_account(open_server: Served) -> None:
    miner = register(ScriptedMiner(open_server.url))
    answer, _ = answered(
        miner, TEXT, lambda: httpx.post(f"{open_server.url}/api/chat", json=CHAT, timeout=120)
    )
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {open_server.client_key}"}
    jobs = httpx.get(f"{open_server.url}/v1/jobs", headers=headers).json()["jobs"]
    assert [job["job_id"] for job in jobs] == [answer.headers["X-Job-ID"]]
    for host in ("localhost", "[::1]:1234"):
        assert httpx.get(f"{open_server.url}/api/tags", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Referer": "https://example.com/"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Cookie": "a=b"},
        {"X-Forwarded-For": "203.0.113.1"},
        {"Via": "1.1 proxy"},
        {"Forwarded": "for=203.0.113.1"},
        {"Host": "10.0.0.1"},
        {"Authorization": "Bearer aitbc_client_wrong"},
    ],
    ids=str,
)
def test_pages_proxies_and_wrong_keys_are_refused(open_server: Served, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/api/chat"), ("GET", "/api/tags")):
        body = CHAT if method == "POST" else None
        answer = httpx.request(method, f"{open_server.url}{path}", json=body, headers=headers)
        assert answer.status_code == 401, (method, answer.text)


def test_by_a_name_that_is_not_the_machines_nobody_is_let_in(open_server: Served) -> None:
    """As a page's would be that makes its name resolve to this machine."""
    answer = httpx.get(f"{open_server.url}/api/tags", headers={"Host": "rebinding.example"})
    assert answer.status_code == 421


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models", "/api/v1/jobs", "/v1/wallet", "/api/v1/wallet"])
def test_all_other_paths_need_a_key(open_server: Served, path: str) -> None:
    assert httpx.get(f"{open_server.url}{path}").status_code == 401


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "https://coordinator.example"},
        {"host": "0.0.0.0"},  # noqa: S104 - it does not listen there, the test's socket does
        {"ollama_account": "nobody"},
    ],
    ids=str,
)
def test_a_coordinator_that_others_reach_needs_a_key(tmp_path: Path, settings: dict[str, str]) -> None:
    with serve(tmp_path, **{"ollama_account": "tester", **settings}) as served:
        assert httpx.get(f"{served.url}/api/tags").status_code == 401


def test_an_account_without_keys_is_closed(tmp_path: Path) -> None:
    with serve(tmp_path, ollama_account="tester") as served:
        headers = {"Authorization": f"Bearer {served.admin_key}"}
        keys = httpx.get(f"{served.url}/v1/admin/keys", headers=headers).json()["keys"]
        (key,) = [key for key in keys if key["name"] == "tester"]
        assert httpx.get(f"{served.url}/api/tags").status_code == 200
        assert httpx.delete(f"{served.url}/v1/admin/keys/{key['key_id']}", headers=headers).is_success
        answer = httpx.get(f"{served.url}/api/tags")
        assert (answer.status_code, "coordinator.ollama_account" in answer.json()["error"]) == (401, True)
