"""Notices to clients whose jobs wait for long: once, as an event and to the webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.coordinator import background
from aitbc.cli._display import row_of
from aitbc.models import Job
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import followed, job, submit
from support.receiver import Receiver
from support.server import Served, serve

HOOK = "https://hooks.example/jobs"
COSTLY = {"pricing": {"max_cost": "0.0000001"}, "wait": True}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture
def served(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A coordinator that notifies clients after a tenth of a second."""
    monkeypatch.setattr("agent.coordinator.webhook_sender.internet", receiver.network)
    monkeypatch.setattr(background, "UPKEEP_SECONDS", 0.05)
    with serve(tmp_path / "data", open_enrolment=True, notify_waiting_seconds=0.1) as served:
        yield served


def test_a_long_wait_is_announced_once(
    client: httpx.Client, miner: ScriptedMiner, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = submit(client, webhook_url=HOOK, **COSTLY)
    notices = []
    with followed(client, job_id) as events:
        for _, data in events:
            if "waiting" in data:
                notices.append(data)
                # The price falls, so that the job runs and the events end.
                offered = miner.registration_body()["capabilities"]
                offered["services"]["whisper_transcription"]["unit_price"] = "0"
                miner.register(capabilities=offered)
                (lease,) = miner.poll()
                assert miner.complete(lease, {"text": "", "units": 1}).status_code == 200
    (notice,) = notices
    assert (notice["status"], notice["waiting"]["can_run"]) == ("submitted", "never")
    assert notice["waiting"]["reasons"][0]["code"] == "PRICE_ABOVE_MAX_COST"
    assert job(client, job_id)["status"] == "completed"
    sent = {message["type"]: message for message in (json.loads(one.body) for one in receiver.wait(2))}
    assert sent.keys() == {"job.waiting", "job.completed"}
    assert sent["job.waiting"]["data"]["reasons"] == ["PRICE_ABOVE_MAX_COST"]

    with row_of(job_id) as row:
        row.job(Job(**notice))
    assert notice["waiting"]["summary"] in capsys.readouterr().err


def test_a_job_that_runs_again_is_announced_only_if_it_waits_again_for_long(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """The time counts from the end of the last run."""
    job_id = submit(client)
    (lease,) = miner.poll()
    miner.job(lease, "release", reason="").raise_for_status()
    with followed(client, job_id) as events:
        notice = next(data for _, data in events if "waiting" in data)
    ended = served.do(
        lambda context: context.database.read(
            lambda connection: connection.exec_driver_sql(
                "SELECT max(r.ended_at), j.notified_at FROM runs r JOIN jobs j USING (job_id)"
            ).one()
        )
    )
    assert notice["job_id"] == job_id
    assert ended[1] - ended[0] >= 0.1
