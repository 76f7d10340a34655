"""One trace id connects a job's lines in the JSON logs of coordinator, miner and runner; the logs contain no client data."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support.agents import Agent, running
from support.jobs import ended

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

CLIENTS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{CLIENTS_TRACE}-00f067aa0ba902b7-01"
LOG_SECONDS = 120
PRIVATE = "marmalade-42"
MODEL = f"""\
def predict(input, fail=False, **parameters):
    print("{PRIVATE} printed")
    if fail:
        raise ValueError("{PRIVATE} raised")
    return {{"answer": "{PRIVATE} " + parameters["words"]}}
"""


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Agent]]:
    """Run a coordinator and a miner in separate processes, each with its own log at the level `debug`."""
    directory = tmp_path_factory.mktemp("logs")
    talkative = {"AITBC_LOG__LEVEL": "debug"}
    coordinator = Agent(
        directory / "coordinator",
        "coordinator",
        "--port",
        "0",
        AITBC_COORDINATOR__OPEN_ENROLMENT="true",
        **talkative,
    )
    with running(coordinator):
        miner = Agent(directory / "miner", "start", "--coordinator", coordinator.url, **talkative)
        with running(miner):
            yield coordinator, miner


@pytest.fixture(scope="module")
def client(agents: tuple[Agent, Agent]) -> Iterator[httpx.Client]:
    coordinator, _ = agents
    headers = {"Authorization": f"Bearer {coordinator.file['client_key']}"}
    with httpx.Client(base_url=coordinator.url, headers=headers, timeout=300) as http:
        yield http


def submit(client: httpx.Client, *, fail: bool = False, **headers: str) -> httpx.Response:
    body = {
        "name": f"{PRIVATE} name",
        "type": "ai-inference",
        "model": {
            "type": "python",
            "entrypoint": "model.py",
            "requirements": [],
            "source": {"inline": MODEL},
        },
        "parameters": {"words": f"{PRIVATE} words", "fail": fail},
        "max_attempts": 1,
    }
    answer = client.post("/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer


def lines(agent: Agent) -> list[dict[str, Any]]:
    """Return all complete lines of a log, each of which must be JSON."""
    return [json.loads(line) for line in agent.log.read_text("utf-8").rpartition("\n")[0].splitlines()]


def events(agent: Agent, trace_id: str, last: str) -> list[str]:
    """Return a job's events once the last one is there: clients can see its effect a moment earlier."""
    deadline = time.monotonic() + LOG_SECONDS
    while True:
        found = [line["event"] for line in lines(agent) if line.get("trace_id") == trace_id]
        if last in found:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_one_id_is_in_the_logs_of_all_three(agents: tuple[Agent, Agent], client: httpx.Client) -> None:
    coordinator, miner = agents
    answer = submit(client)
    job_id, trace_id = answer.json()["job_id"], answer.headers["X-Trace-ID"]
    ended(client, job_id, "completed")
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    of_coordinator = events(coordinator, trace_id, "job_completed")
    assert of_coordinator == ["job_submitted", "lease_given", "job_completed"]
    of_miner = events(miner, trace_id, "runner_ended")
    assert of_miner[0] == "lease_accepted"
    assert [event for event in of_miner if event.startswith("runner_") and event != "runner_run"] == [
        "runner_started",
        "runner_ended",
    ]
    for line in lines(miner):
        if line.get("trace_id") == trace_id:
            assert line["job_id"] == job_id
    end = next(
        line for line in lines(miner) if line["event"] == "runner_ended" and line["trace_id"] == trace_id
    )
    assert (end["outcome"], end["service"]) == ("done", "ai_inference")


def test_a_clients_trace_id_is_adopted(agents: tuple[Agent, Agent], client: httpx.Client) -> None:
    coordinator, miner = agents
    answer = submit(client, traceparent=TRACEPARENT)
    ended(client, answer.json()["job_id"], "completed")
    assert answer.headers["X-Trace-ID"] == CLIENTS_TRACE
    of_coordinator = events(coordinator, CLIENTS_TRACE, "job_completed")
    assert of_coordinator == ["job_submitted", "lease_given", "job_completed"]
    assert {"lease_accepted", "runner_started"} <= set(events(miner, CLIENTS_TRACE, "runner_ended"))


def test_failures_are_logged_with_the_id(agents: tuple[Agent, Agent], client: httpx.Client) -> None:
    coordinator, miner = agents
    answer = submit(client, fail=True)
    ended(client, answer.json()["job_id"], "failed")
    trace_id = answer.headers["X-Trace-ID"]
    assert events(coordinator, trace_id, "run_failed")[-1] == "run_failed"
    assert "runner_ended" in events(miner, trace_id, "job_failed")


def test_an_error_response_has_the_request_id_and_the_trace_id(client: httpx.Client) -> None:
    """An invalid trace id is ignored and does not fail the request."""
    answer = client.get("/v1/jobs/job_0", headers={"traceparent": TRACEPARENT})
    assert answer.json()["error"]["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["X-Trace-ID"] == CLIENTS_TRACE
    bad = client.get("/v1/jobs/job_0", headers={"traceparent": "00-xyz"})
    assert bad.status_code == 404
    assert "X-Trace-ID" not in bad.headers


def test_no_log_contains_private_data(agents: tuple[Agent, Agent], client: httpx.Client) -> None:
    """No request, result or key is logged at the level `debug`, whether jobs complete or fail."""
    coordinator, miner = agents
    keys = [
        value
        for agent in agents
        for name, value in agent.file.items()
        if name.endswith("_key") and name != "log_key" and value
    ]
    assert keys
    for agent in (coordinator, miner):
        text = agent.log.read_text("utf-8")
        assert "job" in text
        assert PRIVATE not in text
        for key in keys:
            assert key not in text
