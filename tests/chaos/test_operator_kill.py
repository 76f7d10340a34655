"""`kill -9` of a coordinator while an operator debits an account or removes a miner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.fault_points import VARIABLE
from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit

pytestmark = pytest.mark.chaos


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan"
    path.touch()
    return path


@pytest.fixture
def coordinator(tmp_path: Path, plan: Path) -> Iterator[Agent]:
    settings = {"AITBC_COORDINATOR__OPEN_ENROLMENT": "true", VARIABLE: str(plan)}
    agent = Agent(tmp_path / "coordinator", "coordinator", "--port", "0", **settings)
    with running(agent):
        yield agent


def client_of(agent: Agent, key: str) -> httpx.Client:
    return httpx.Client(base_url=agent.url, headers={"X-API-Key": agent.file[key]}, timeout=120)


def killed_at(agent: Agent, plan: Path, point: str, method: str, path: str, **request: Any) -> None:
    """Send a request during which the coordinator dies at a point, and start it again."""
    plan.write_text(f"{point} kill 1\n")
    with client_of(agent, "admin_key") as admin, pytest.raises(httpx.TransportError):
        admin.request(method, path, **request)
    assert agent.process is not None
    agent.process.wait(60)
    plan.write_text("")
    agent.start()


@pytest.mark.needs("history")
def test_a_debit_is_booked_once_wherever_the_kill_strikes(coordinator: Agent, plan: Path) -> None:
    """Nothing is booked before the commit; after it, the repeated request gets the answer that was lost."""
    with client_of(coordinator, "client_key") as client:
        account_id = client.get("/v1/wallet").json()["account_id"]
    path = f"/v1/admin/accounts/{account_id}/debits"
    request = {"json": {"amount": "100"}, "headers": {"Idempotency-Key": "refund 1"}}
    for when, balance in (("before", "1000"), ("after", "900")):
        killed_at(coordinator, plan, f"database.{when}_commit:_book", "POST", path, **request)
        with client_of(coordinator, "client_key") as client:
            assert client.get("/v1/wallet").json()["balance"] == balance
    with client_of(coordinator, "admin_key") as admin:
        assert admin.post(path, **request).json()["balance"] == "900"
        booked = admin.get("/v1/wallet/transactions").json()["transactions"]
        points = admin.get("/v1/admin/history?metric=money&period=hour").json()["points"]
    assert [item["amount"] for item in booked if item["type"] == "debit"] == ["100"]
    assert sum(float(point["figures"]["debited"]) for point in points) == 100
    assert "0 problems" in (done := coordinator.cli("fsck", check=False)).stdout or done.returncode == 0


def test_a_miner_is_removed_with_its_leases_or_not_at_all(coordinator: Agent, plan: Path) -> None:
    miner = ScriptedMiner(coordinator.url)
    assert miner.register().status_code == 200
    with client_of(coordinator, "client_key") as client:
        job_id = submit(client)
        (lease,) = miner.poll()
    path = f"/v1/admin/miners/{miner.miner_id}"
    for when, status, offers in (("before", "running", True), ("after", "submitted", False)):
        killed_at(coordinator, plan, f"database.{when}_commit:_remove", "DELETE", path)
        with client_of(coordinator, "client_key") as client:
            assert client.get(f"/v1/jobs/{job_id}").json().get("status") == status, client.get(
                f"/v1/jobs/{job_id}"
            ).text
            listed = client.get("/v1/marketplace/offers").json()["offers"]
            assert any(offer["miner_id"] == miner.miner_id for offer in listed) == offers
    miner.http.base_url = httpx.URL(f"{coordinator.url}/v1/miners")
    assert miner.complete(lease, {"text": "late", "units": 1}).status_code == 401
    other = ScriptedMiner(coordinator.url)
    other.register()
    assert other.poll()[0]["job_id"] == job_id
