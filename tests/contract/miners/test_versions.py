"""Miners whose version does not work with the coordinator's."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from agent import __version__
from agent.coordinator.features.machines import metrics, views
from agent.coordinator.operations.miners import sessions
from agent.coordinator.store import miners as store
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served

OLD = "0.1.0"


def refusal(answer: httpx.Response) -> str:
    """The message of a refused registration."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "VERSION_MISMATCH")
    return str(error["message"])


def test_a_miner_of_another_version_is_refused_and_shown_to_its_owner_and_the_operator(
    client: httpx.Client, admin: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """It gets no jobs. With the right version it joins again."""
    newer = "999.0.1"
    for version in (OLD, newer):
        message = refusal(miner.register(agent_version=version))
        assert version in message
        assert __version__ in message
        owner = {"X-API-Key": str(miner.registration["api_key"])}
        details = httpx.get(f"{served.url}/v1/miners/{miner.miner_id}", headers=owner).json()
        (summary,) = admin.get("/v1/admin/overview").json()["miners"]
        for shown in (details, summary):
            assert (shown["agent_version"], shown["version_problem"]) == (version, message)
    submit(client)
    assert miner.register().status_code == 200
    assert admin.get("/v1/admin/overview").json()["miners"][0]["version_problem"] is None
    assert miner.poll()


def test_operators_see_the_versions_of_the_fleet_and_owners_what_to_do(
    admin: httpx.Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the overview, the metrics, and the answer to the registration. The coordinator is one of version 0.4."""
    for module in (sessions, views, metrics):
        monkeypatch.setattr(module, "__version__", "0.4.0")
    registered = [ScriptedMiner(served.url) for _ in range(4)]
    for miner, version in zip(registered, ("0.4.2", "0.2.0", "0.3.0", "0.2.0"), strict=True):
        assert miner.register(agent_version=version).json()["version"] == "0.4.0"
    overview = admin.get("/v1/admin/overview").json()
    states = [
        (item["version"], item["miners"], item["online"], item["state"]) for item in overview["versions"]
    ]
    assert states == [("0.2.0", 2, 2, "ending"), ("0.3.0", 1, 1, "behind"), ("0.4.2", 1, 1, "current")]
    advice = overview["versions"][0]["advice"]
    assert "version 0.5, will refuse it. Update its agent" in advice
    assert overview["versions"][2]["advice"] is None
    by_id = {item["miner_id"]: item for item in overview["miners"]}
    assert by_id[registered[1].miner_id]["version_advice"] == advice
    monkeypatch.setattr(metrics, "__version__", "0.5.0")
    owner = {"X-API-Key": str(registered[1].registration["api_key"])}
    assert httpx.get(f"{served.url}/v1/miners/{registered[1].miner_id}", headers=owner).json()[
        "version_advice"
    ]
    exposition = admin.get("/metrics").text
    for labels, number in {'state="ending",version="0.3"': 1, 'state="refused",version="other"': 2}.items():
        assert f"aitbc_coordinator_miner_versions{{{labels}}} {number}.0" in exposition


def test_the_version_is_compared_before_fields_that_another_version_may_name_differently(
    served: Served,
) -> None:
    changed = {**capabilities(), "memory": "much"}
    stranger = ScriptedMiner(served.url)
    assert OLD in refusal(stranger.register(agent_version=OLD, capabilities=changed))
    assert stranger.register(capabilities=changed).status_code == 422


def test_an_unknown_miner_of_another_version_is_not_stored(admin: httpx.Client, served: Served) -> None:
    refusal(ScriptedMiner(served.url).register(agent_version=OLD))
    assert admin.get("/v1/admin/overview").json()["miners"] == []


def test_a_session_from_before_an_upgrade_of_the_coordinator_ends(
    served: Served, miner: ScriptedMiner
) -> None:
    """Its miner registers again, and learns the reason."""

    async def age(context: object) -> None:
        database = served.context.database
        record = await database.read(store.find, miner.miner_id)
        assert record is not None
        await database.write(store.save, replace(record, agent_version=OLD))
        served.context.caches.forget_sessions()

    served.do(age)
    answer = miner.http.post("/poll", json={"slots": 1, "wait": 0})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert miner.http.post("/challenge", json={}).json()["version"] == __version__
