"""Reasons for waiting: each is named by the API and the command line, and jobs that can never run are refused.

All stages share a coordinator. Each has an account and a miner of its own, which its job names, so that no other stage matters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from agent.coordinator import hooks
from agent.coordinator.operations import supply
from agent.coordinator.operations.caches import Fleet
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import lists
from aitbc import AITBCClient, CannotRun
from aitbc.cli import app
from aitbc.cli._arguments.option_names import with_options_named
from aitbc.cli._terminal.exits import explain as explain_error
from aitbc.reasons import ReasonCode
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import WHISPER, job, submit
from support.recent import fold_everything
from support.server import Served, add_client, serve
from support.waiting import SERVICE, STAGES, TRANSCRIBE, Stage


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("shared"), open_enrolment=True) as served:
        yield served


@pytest.fixture
def stage(shared: Served) -> Stage:
    return Stage(shared, add_client(shared, "stage"), ScriptedMiner(shared.url))


@pytest.mark.parametrize("code", STAGES, ids=str)
def test_a_reason_is_named_by_the_api_and_the_command_line(stage: Stage, code: ReasonCode) -> None:
    """Job by job: the code, the figures or the cause in the message, who can change it and how."""
    stage_of, words = STAGES[code]
    job_id = stage_of(stage)
    found = stage.explain(job_id)
    reason = next((reason for reason in found["reasons"] if reason["code"] == code), None)
    assert reason is not None, found
    assert words in reason["message"]
    assert (reason["who"], bool(reason["action"])) == (code.who, True)
    if code.lasting:
        assert found["summary"] == reason["message"]
        assert (found["can_run"], found["estimated_start"]) == ("never", None)
        assert "estimated_completion" not in job(stage.client, job_id)
    for command in ("explain", "show"):
        shown = CliRunner().invoke(
            app, ["--base-url", stage.served.url, "--api-key", stage.key, "jobs", command, job_id]
        )
        assert f"{code} (" in shown.stdout, shown.output
        assert with_options_named(reason["message"]) in shown.stdout
        assert with_options_named(reason["action"]) in shown.stdout
        assert not re.search(
            r"pricing\.|resources\.|\b(miner_id|max_cost)\b", shown.stdout.split(job_id, 1)[1]
        ), command


def test_every_reason_for_waiting_is_staged() -> None:
    elsewhere = {
        ReasonCode.NO_MINERS,  # below
        ReasonCode.ESTIMATE_ABOVE_MAX_COST,  # below
        ReasonCode.OFFER_FULL,  # of an error only
        ReasonCode.NOT_CHOSEN,  # of the miners that a job does not name
        ReasonCode.NO_AUDITOR,  # in test_audits.py
        ReasonCode.NOT_AN_AUDITOR,  # of jobs that the coordinator submits
    }
    assert set(ReasonCode) - STAGES.keys() == elsewhere


def test_while_no_miner_has_registered_all_jobs_wait(client: httpx.Client) -> None:
    job_id = submit(client, miner_id="miner_aaaaaaaaaaaaaaaaaaaaaaaaaa", pricing={"max_cost": "0.0000001"})
    found = client.get(f"/v1/jobs/{job_id}/explain").json()
    assert ([reason["code"] for reason in found["reasons"]], found["can_run"]) == (["NO_MINERS"], "later")
    assert job(client, job_id)["estimated_completion"]  # the reference's


def test_an_estimate_above_max_cost_is_refused(stage: Stage) -> None:
    """10 frames of 2 megapixels with 100 samples at 0.001 cost 2.0736; the limit is 2."""
    stage.miner.register()
    body = {
        "blend_file_url": "https://example.com/a.blend",
        "engine": "cycles",
        "resolution_x": 1920,
        "resolution_y": 1080,
        "samples": 100,
        "frames": "1-10",
        "pricing": {"max_cost": "2"},
        "miner_id": stage.miner.miner_id,
    }
    answer = stage.client.post("/v1/services/blender/render", json=body)
    (reason,) = answer.json()["error"]["details"]["reasons"]
    assert (reason["code"], reason["details"]["missing"]) == ("ESTIMATE_ABOVE_MAX_COST", "0.0736")
    body["pricing"] = {"max_cost": "2.0736"}
    assert stage.client.post("/v1/services/blender/render", json=body).status_code == 201


def test_the_sdk_names_the_reasons_and_waits_for_a_miner_on_request(stage: Stage) -> None:
    stage.miner.register()
    call: dict[str, Any] = {
        "model": "base",
        "miner_id": stage.miner.miner_id,
        "pricing": {"max_cost": "0.0001"},
    }
    with AITBCClient(stage.key, stage.served.url) as client:
        with pytest.raises(CannotRun) as refused:
            client.services.transcribe("https://example.com/a.mp3", **call)
        waiting = client.services.transcribe("https://example.com/a.mp3", **call, wait_for_miner=True)
        found = client.jobs.explain(waiting.job_id)
    assert [reason.to_dict() for reason in found.reasons] == refused.value.reasons
    assert found.reasons[0].code == "PRICE_ABOVE_MAX_COST"
    text = explain_error(refused.value)
    assert "0.0009 more" in text
    assert "--wait-for-miner" in text


def test_a_coordinator_without_reasons_refuses_jobs_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.miner.register()
    monkeypatch.setattr(hooks, "job_refused", lambda *_: [])
    body = {**WHISPER, "miner_id": stage.miner.miner_id, "pricing": {"max_cost": "0.0001"}}
    answer = stage.client.post(f"/v1/services/{TRANSCRIBE}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "CANNOT_RUN")
    assert error["message"] == "No known miner can run this job."


def test_a_job_in_another_state_has_no_reasons(stage: Stage) -> None:
    job_id = stage.submit()
    (lease, *_) = stage.miner.poll(slots=1)
    assert lease["job_id"] == job_id
    running = stage.explain(job_id)
    assert (running["status"], running["can_run"], running["reasons"]) == ("running", "now", [])
    failure = {"kind": "fail", "code": "INPUT_INVALID", "message": "No audio."}
    assert stage.miner.job(lease, "fail", **failure).status_code == 200
    failed = stage.explain(job_id)
    assert (failed["status"], failed["summary"]) == ("failed", "It failed: No audio.")
    other = httpx.get(
        f"{stage.served.url}/v1/jobs/{job_id}/explain", headers={"X-API-Key": stage.served.other_key}
    )
    assert other.status_code == 404


def test_a_repeated_request_gets_its_first_answer_even_if_no_miner_could_run_it_now(stage: Stage) -> None:
    stage.miner.register(capabilities=stage.able)
    body = {**WHISPER, "miner_id": stage.miner.miner_id}
    path, key = f"/v1/services/{TRANSCRIBE}", {"Idempotency-Key": "once"}
    first = stage.client.post(path, json=body, headers=key)
    del stage.able["services"][SERVICE]
    stage.miner.register(capabilities=stage.able)
    assert stage.client.post(path, json=body, headers=key).json() == first.json()
    assert stage.client.post(path, json=body).status_code == 422


def test_a_refusal_follows_from_the_miners_as_they_are_now(stage: Stage) -> None:
    """The known miners are cached, but no job is refused because of an earlier state of them."""
    stage.offers(unit_price="0.777")
    stage.miner.register(capabilities=stage.able)
    body = {**WHISPER, "miner_id": stage.miner.miner_id, "pricing": {"max_cost": "0.5"}}
    assert stage.client.post(f"/v1/services/{TRANSCRIBE}", json=body).status_code == 422
    stage.execute("UPDATE miners SET capabilities = replace(capabilities, '0.777', '0.5')")
    assert stage.client.post(f"/v1/services/{TRANSCRIBE}", json=body).status_code == 201


def test_attack_a_list_of_jobs_of_many_kinds_compares_few_of_them_with_the_miners(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind is compared with each miner, while no other request is answered. The others have no estimate in the list."""
    stage.able["services"][SERVICE]["models"] = ["large-v2"]
    stage.miner.register(capabilities=stage.able)
    jobs = [
        submit(stage.client, model="large-v2", pricing={"max_cost": f"0.{number}"})
        for number in range(11, 21)
    ]
    stage.served.do(_forget_miners)
    miners = len(stage.served.do(fleet_of).miners)
    monkeypatch.setattr(lists, "MAX_COMPARED", 3 * miners)
    found = stage.client.get("/v1/jobs", params={"status": "submitted", "limit": 500}).json()["jobs"]
    assert {one["job_id"] for one in found} == set(jobs)
    assert sum("estimated_completion" in one for one in found) == 3
    monkeypatch.undo()
    found = stage.client.get("/v1/jobs", params={"status": "submitted"}).json()["jobs"]
    assert all("estimated_completion" in one for one in found)


async def _forget_miners(context: Context) -> None:
    context.caches.supply = None


async def fleet_of(context: Context) -> Fleet:
    return await supply.fleet(context)


def test_position_and_estimated_start_follow_from_measured_durations(stage: Stage) -> None:
    """Without a measurement there is no estimate."""
    stage.able["services"][SERVICE]["models"] = ["large-v1"]
    stage.miner.register(capabilities=stage.able)
    chosen = {"model": "large-v1", "miner_id": stage.miner.miner_id}
    first = submit(stage.client, **chosen)
    last = submit(stage.client, **chosen)
    found = stage.explain(last)
    assert (found["position"], found["ahead"], found["estimated_start"]) == (2, 1, None)
    (lease,) = stage.miner.poll()
    assert lease["job_id"] == first
    assert stage.miner.complete(lease, {"text": "", "units": 1}).status_code == 200
    urgent = submit(stage.client, **chosen, priority=9)
    stage.served.do(fold_everything)
    stage.execute("UPDATE durations SET seconds = 600 * count WHERE model = 'large-v1'")
    stage.served.do(_forget_estimates)
    found = stage.explain(last)
    assert (found["position"], found["reasons"][-1]["details"]["ahead"]) == (2, 1)
    assert stage.explain(urgent)["position"] == 1
    assert found["estimated_start"] > stage.explain(urgent)["estimated_start"]


async def _forget_estimates(context: Context) -> None:
    context.caches.estimates = None
