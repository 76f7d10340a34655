"""Reasons for waiting: each is named by the API and the command line, and jobs that can never run are refused.

All stages share a coordinator. Each has an account and a miner of its own, which its job names, so that no other stage matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from agent.coordinator.operations.context import Context
from agent.coordinator.store import throttling
from agent.coordinator.store.throttling import Releases
from agent.core.market.throttling import Tally
from agent.core.reasons import ReasonCode
from aitbc import AITBCClient, CannotRun
from aitbc.cli import app
from aitbc.cli._arguments.options import with_options_named
from aitbc.cli._terminal.exits import explain as explain_error
from support.clients.scripted_miner import GPU, ScriptedMiner, capabilities
from support.jobs import WHISPER, job, submit
from support.server import Served, add_client, serve

SERVICE = "whisper_transcription"
TRANSCRIBE = "whisper/transcribe"
FAILED = {"kind": "retry", "code": "RUNNER_CRASHED", "message": "The decoder crashed."}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("shared"), open_enrolment=True) as served:
        yield served


@dataclass
class Stage:
    """A client and a miner; `able` are the miner's capabilities until it registers."""

    served: Served
    key: str
    miner: ScriptedMiner
    able: dict[str, Any] = field(default_factory=capabilities)
    body: dict[str, Any] = field(default_factory=lambda: dict(WHISPER))
    route: str = TRANSCRIBE

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.served.url, headers={"X-API-Key": self.key}, timeout=30)

    def offers(self, **changes: Any) -> None:
        self.able["services"][SERVICE] |= changes

    def beat(self, **changes: Any) -> None:
        self.miner.http.post("/heartbeat", json={"leases": [], **changes}).raise_for_status()

    def submit(self, **options: Any) -> str:
        """Register the miner, and submit the stage's job for it. A job that can never run is refused at first."""
        if not self.miner.registration:
            assert self.miner.register(capabilities=self.able).status_code == 200
        body = {"miner_id": self.miner.miner_id, **self.body, **options}
        answer = self.client.post(f"/v1/services/{self.route}", json={**body, "wait": True})
        assert answer.status_code == 201, answer.text
        job_id: str = answer.json()["job_id"]
        refused = self.client.post(f"/v1/services/{self.route}", json=body)
        if refused.status_code != 201:
            assert refused.json()["error"]["code"] == "CANNOT_RUN"
            assert refused.json()["error"]["details"]["reasons"] == self.explain(job_id)["reasons"]
        assert (refused.status_code == 422) == (self.explain(job_id)["can_run"] == "never")
        return job_id

    def explain(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}/explain").raise_for_status().json()
        return found

    def store(self, work: Callable[..., Any], *arguments: Any) -> None:
        async def write(context: Context) -> None:
            await context.database.write(work, *arguments)

        self.served.do(write)

    def execute(self, statement: str, **values: Any) -> None:
        self.store(lambda connection: connection.execute(text(statement), values))


@pytest.fixture
def stage(shared: Served) -> Stage:
    return Stage(shared, add_client(shared, "stage"), ScriptedMiner(shared.url))


def price_above_max_cost(stage: Stage) -> str:
    return stage.submit(pricing={"max_cost": "0.0000001"})


def service_not_offered(stage: Stage) -> str:
    del stage.able["services"][SERVICE]
    stage.able["unavailable"] = {SERVICE: ["faster-whisper is not installed."]}
    return stage.submit()


def feature_missing(stage: Stage) -> str:
    stage.able["services"]["blender_rendering"]["features"] = {"engines": ["cycles"]}
    stage.route, stage.body = (
        "blender/render",
        {"blend_file_url": "https://example.com/a.blend", "engine": "eevee"},
    )
    return stage.submit()


def model_missing(stage: Stage) -> str:
    stage.offers(models=["tiny.en"])
    return stage.submit()


def model_too_large(stage: Stage) -> str:
    stage.able["gpus"] = [{**GPU, "memory_total": 2**28}]
    stage.offers(models=["tiny.en"], downloadable=True, unavailable_models=["base"])
    return stage.submit()


def model_unavailable(stage: Stage) -> str:
    stage.offers(unavailable_models=["base"])
    return stage.submit()


def not_enough_cpu(stage: Stage) -> str:
    return stage.submit(resources={"cpu": "65"})


def not_enough_memory(stage: Stage) -> str:
    return stage.submit(resources={"memory": "1Ti"})


def not_enough_gpus(stage: Stage) -> str:
    return stage.submit(resources={"gpu": "2"})


def miner_unknown(stage: Stage) -> str:
    return stage.submit(miner_id="miner_aaaaaaaaaaaaaaaaaaaaaaaaaa")


def miner_excluded(stage: Stage) -> str:
    stage.miner.register(capabilities=stage.able)
    admin = {"X-API-Key": stage.served.admin_key}
    path = f"{stage.served.url}/v1/admin/miners/{stage.miner.miner_id}/exclude"
    httpx.post(path, json={"reason": "wrong results"}, headers=admin).raise_for_status()
    return stage.submit()


def miner_offline(stage: Stage) -> str:
    job_id = stage.submit()
    stage.execute("UPDATE miners SET seen_at = 0 WHERE miner_id = :id", id=stage.miner.miner_id)
    return job_id


def miner_paused(stage: Stage) -> str:
    job_id = stage.submit()
    stage.beat(paused="by hand until 18:00")
    return job_id


def miner_asleep(stage: Stage) -> str:
    job_id = stage.submit()
    stage.beat(paused="by schedule until 18:00")
    return job_id


def miner_suspended(stage: Stage) -> str:
    job_id = stage.submit()
    stage.store(throttling.save_releases, stage.miner.miner_id, Releases(Tally(9, 0), 2e10))
    return job_id


def service_paused(stage: Stage) -> str:
    stage.offers(paused="Several of its jobs failed through faults of the machine.")
    return stage.submit()


def failed_there(stage: Stage) -> str:
    job_id = stage.submit()
    (lease, *_) = stage.miner.poll()
    assert lease["job_id"] == job_id
    assert stage.miner.job(lease, "fail", **FAILED).status_code == 200
    return job_id


def miner_busy(stage: Stage) -> str:
    return stage.submit()


def queued(stage: Stage) -> str:
    stage.submit()
    return stage.submit()


def offer_ended(stage: Stage) -> str:
    owner = {"X-API-Key": stage.miner.register(capabilities=stage.able).json()["api_key"]}
    body = {"job_type": SERVICE, "price": "0.001", "max_jobs": 10, "duration": 3600}
    path = f"{stage.served.url}/v1/marketplace/offers"
    offer_id = httpx.post(path, json=body, headers=owner).json()["offer_id"]
    job_id = submit(stage.client, offer_id=offer_id)
    httpx.delete(f"{path}/{offer_id}", headers=owner).raise_for_status()
    answer = stage.client.post(f"/v1/services/{TRANSCRIBE}", json={**WHISPER, "offer_id": offer_id})
    assert answer.json()["error"]["details"]["reasons"][0]["code"] == "OFFER_ENDED"
    return job_id


def account_limit(stage: Stage) -> str:
    running = stage.submit()
    (lease, *_) = stage.miner.poll()
    assert lease["job_id"] == running
    account = "(SELECT account_id FROM jobs WHERE job_id = :id)"
    now = "(SELECT created_at FROM jobs WHERE job_id = :id)"
    stage.execute(f"INSERT INTO client_failures VALUES ({account}, 1000, {now})", id=running)  # noqa: S608 - literals
    return stage.submit()


def files_missing(stage: Stage) -> str:
    stage.miner.register(capabilities=stage.able)
    body = {
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py"},
        "miner_id": stage.miner.miner_id,
    }
    job_id: str = stage.client.post("/v1/jobs", json=body).json()["job_id"]
    return job_id


STAGES: dict[ReasonCode, tuple[Callable[[Stage], str], str]] = {
    ReasonCode.PRICE_ABOVE_MAX_COST: (price_above_max_cost, "0.0009999 more"),
    ReasonCode.SERVICE_NOT_OFFERED: (service_not_offered, "faster-whisper is not installed"),
    ReasonCode.FEATURE_MISSING: (feature_missing, "eevee"),
    ReasonCode.MODEL_MISSING: (model_missing, "scripted could fetch it"),
    ReasonCode.MODEL_TOO_LARGE: (model_too_large, "GPU memory"),
    ReasonCode.MODEL_UNAVAILABLE: (model_unavailable, "base"),
    ReasonCode.NOT_ENOUGH_CPU: (not_enough_cpu, "65 CPU cores"),
    ReasonCode.NOT_ENOUGH_MEMORY: (not_enough_memory, "1024.0 GiB"),
    ReasonCode.NOT_ENOUGH_GPUS: (not_enough_gpus, "2 GPUs"),
    ReasonCode.MINER_UNKNOWN: (miner_unknown, "miner_aaaa"),
    ReasonCode.MINER_EXCLUDED: (miner_excluded, "wrong results"),
    ReasonCode.MINER_OFFLINE: (miner_offline, "last seen"),
    ReasonCode.MINER_PAUSED: (miner_paused, "paused by hand until 18:00"),
    ReasonCode.MINER_ASLEEP: (miner_asleep, "by schedule until 18:00"),
    ReasonCode.MINER_SUSPENDED: (miner_suspended, "handed back"),
    ReasonCode.SERVICE_PAUSED: (service_paused, "faults of the machine"),
    ReasonCode.FAILED_THERE: (failed_there, "The decoder crashed. (RUNNER_CRASHED)"),
    ReasonCode.MINER_BUSY: (miner_busy, "busy"),
    ReasonCode.QUEUED: (queued, "come first"),
    ReasonCode.OFFER_ENDED: (offer_ended, "has ended"),
    ReasonCode.ACCOUNT_LIMIT: (account_limit, "1 job at a time"),
    ReasonCode.FILES_MISSING: (files_missing, "model.source"),
}


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
            r"pricing\.|resources\.|miner_id|\bmax_cost", shown.stdout.split(job_id, 1)[1]
        ), command


def test_every_reason_for_waiting_is_staged() -> None:
    elsewhere = {
        ReasonCode.NO_MINERS,  # below
        ReasonCode.ESTIMATE_ABOVE_MAX_COST,  # below
        ReasonCode.OFFER_FULL,  # of an error only
        ReasonCode.NOT_CHOSEN,  # of the miners that a job does not name
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
    call = {"model": "base", "miner_id": stage.miner.miner_id, "pricing": {"max_cost": "0.0001"}}
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
    stage.execute("UPDATE durations SET seconds = 600 * count WHERE model = 'large-v1'")
    stage.served.do(_forget_estimates)
    found = stage.explain(last)
    assert (found["position"], found["reasons"][-1]["details"]["ahead"]) == (2, 1)
    assert stage.explain(urgent)["position"] == 1
    assert found["estimated_start"] > stage.explain(urgent)["estimated_start"]


async def _forget_estimates(context: Context) -> None:
    context.caches.estimates = None
