"""Settings of a miner that its owner changes through the coordinator, and the history of commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agent.coordinator.features.machines.store import MAX_HISTORY, newest
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

SETTINGS = {
    "locked": None,
    "prices": {"whisper_transcription": "0.001"},
    "default_prices": {"whisper_transcription": "0.0002"},
    "schedule": ["Sat,Sun 00:00-24:00"],
    "preferred": [],
    "engines": {"whisper_transcription": [None, "faster-whisper"]},
}


@pytest.fixture
def owner(served: Served, miner: ScriptedMiner) -> Iterator[httpx.Client]:
    """A client with the key of the owner of a miner that reports its settings."""
    report(miner)
    headers = {"X-API-Key": miner.registration["api_key"]}
    with httpx.Client(base_url=f"{served.url}/v1/miners/{miner.miner_id}", headers=headers) as owner:
        yield owner


def report(miner: ScriptedMiner, **changes: Any) -> list[dict[str, Any]]:
    """Send a heartbeat with the miner's settings. Return the commands in the answer."""
    return beat(miner, capabilities=capabilities(settings={**SETTINGS, **changes}))


def beat(miner: ScriptedMiner, **fields: Any) -> list[dict[str, Any]]:
    answer = miner.http.post("/heartbeat", json={"leases": [], **fields})
    assert answer.status_code == 200, answer.text
    commands: list[dict[str, Any]] = answer.json()["commands"]
    return commands


def settings_of(owner: httpx.Client) -> dict[str, Any]:
    shown: dict[str, Any] = owner.get("/settings").json()
    return shown


def waiting_commands(owner: httpx.Client) -> list[str]:
    machine = owner.get(str(owner.base_url).rstrip("/")).json()
    return [command["command_id"] for command in machine["commands"]]


def test_the_settings_are_shown_as_the_miner_reports_them(owner: httpx.Client) -> None:
    shown = settings_of(owner)
    price = next(one for one in shown["prices"] if one["service_id"] == "whisper_transcription")
    *_, hour = price.pop("sale_units")
    assert hour == {"name": "hour of audio", "plural": "hours of audio", "detail": None, "units": "3600"}
    assert price == {
        "service_id": "whisper_transcription",
        "unit": "audio second",
        "unit_price": "0.001",
        "setting": "0.001",
        "default": "0.0002",
    }
    assert (shown["schedule"], shown["locked"], shown["history"]) == (SETTINGS["schedule"], None, [])
    assert shown["engines"] == [{"service_id": "whisper_transcription", "engines": [None, "faster-whisper"]}]


def test_a_change_reaches_the_miner_and_stays_in_the_history(
    owner: httpx.Client, miner: ScriptedMiner, admin: httpx.Client
) -> None:
    """The history says what changed, from what, by whom, and whether the miner executed or refused it."""
    change = {"prices": {"whisper_transcription": None}, "schedule": ["Mon-Fri 09:00-18:00"]}
    accepted = owner.patch("/settings", json=change)
    assert accepted.status_code == 202, accepted.text
    second = admin.patch(f"/v1/miners/{miner.miner_id}/settings", json={"engines": ["faster-whisper"]})
    assert second.status_code == 202, second.text
    first_sent, second_sent = beat(miner)
    assert first_sent["settings"] == change
    assert second_sent["settings"] == {"prices": {}, "engines": ["faster-whisper"]}
    assert [entry["executed_at"] for entry in settings_of(owner)["history"]] == [None, None]
    ids = [first_sent["command_id"], second_sent["command_id"]]
    refused = [{"command_id": ids[1], "reasons": ["The disk is full."]}]
    assert beat(miner, executed=ids, refused=refused) == []
    later, earlier = settings_of(owner)["history"]
    assert earlier["changes"] == [
        {"setting": "miner.prices.whisper_transcription", "before": "0.001", "after": None},
        {
            "setting": "miner.pause.schedule",
            "before": '["Sat,Sun 00:00-24:00"]',
            "after": '["Mon-Fri 09:00-18:00"]',
        },
    ]
    assert earlier["executed_at"] is not None
    assert (earlier["refusal"], later["refusal"]) == ([], ["The disk is full."])
    assert earlier["given_by"] == "owner (owner of scripted)"
    assert later["given_by"].startswith("administrator")
    assert waiting_commands(owner) == []


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"prices": {"whisper_transcription": "cheap"}}, "prices.whisper_transcription", "amount"),
        ({"prices": {"whisper": "0.1"}}, "prices.whisper", "has no service 'whisper'"),
        ({"schedule": ["Mon 25:00-26:00"]}, "schedule", "which is not a time of day"),
        ({"engines": ["vllm"]}, "engines", "is not installed on the machine; it has faster-whisper"),
    ],
)
def test_values_that_the_settings_file_does_not_allow_are_refused_at_once(
    owner: httpx.Client, change: dict[str, Any], field: str, words: str
) -> None:
    answer = owner.patch("/settings", json=change)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["error"]["details"]["fields"][field]
    assert settings_of(owner)["history"] == []


def test_attack_other_callers_and_locked_machines(
    owner: httpx.Client, miner: ScriptedMiner, client: httpx.Client, served: Served
) -> None:
    """Clients and other owners change nothing, and nobody changes a machine that allows no changes."""
    path, change = f"/v1/miners/{miner.miner_id}/settings", {"schedule": []}
    assert client.patch(path, json=change).status_code == 403
    assert client.get(path).status_code == 403
    other = ScriptedMiner(served.url)
    other.register()
    with httpx.Client(base_url=served.url, headers={"X-API-Key": other.registration["api_key"]}) as stranger:
        assert stranger.patch(path, json=change).status_code == 404
        assert stranger.get(path).status_code == 404
    report(miner, locked="The machine's owner has forbidden such changes (miner.remote_settings = false).")
    answer = owner.patch("/settings", json=change)
    assert (answer.status_code, "forbidden" in answer.json()["error"]["message"]) == (409, True)
    beat(miner, capabilities=capabilities())  # an agent that does not report its settings
    answer = owner.patch("/settings", json=change)
    assert (answer.status_code, "too old" in answer.json()["error"]["message"]) == (409, True)
    assert settings_of(owner)["history"] == []


def test_the_history_is_bounded(owner: httpx.Client, miner: ScriptedMiner, served: Served) -> None:
    """Commands that wait are never removed from it."""
    waiting = owner.post("/models", json={"model": "tiny"}).json()["command_id"]
    for number in range(MAX_HISTORY + 2):
        given = owner.post("/pause" if number % 2 else "/resume").json()["command_id"]
        beat(miner, executed=[given])
    assert waiting_commands(owner) == [waiting]
    stored = served.do(lambda context: context.database.read(newest, miner.miner_id, 2 * MAX_HISTORY))
    # Those that were retained when the newest command was given, that command, and the one that waits.
    assert (len(stored), stored[-1].command_id) == (MAX_HISTORY + 2, waiting)
