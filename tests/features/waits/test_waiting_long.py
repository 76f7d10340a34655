"""Notices to clients whose jobs wait for long: once, as an event and to the webhook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.coordinator import background
from agent.coordinator.operations.context import Context
from aitbc.answers.jobs import Job
from aitbc.cli._terminal.display import row_of
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import followed, job, submit
from support.server import Served, serve
from support.servers.receiver import Receiver

pytestmark = pytest.mark.needs("webhooks")

HOOK = "https://hooks.example/jobs"
COSTLY = {"pricing": {"max_cost": "0.0000001"}, "wait": True}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture
def served(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A coordinator that notifies clients after a tenth of a second."""
    monkeypatch.setattr("agent.coordinator.features.webhooks.sender.internet", receiver.network)
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
        row.job(Job.read(notice))
    # The command line names the option instead of the field.
    assert notice["waiting"]["summary"].replace("max_cost", "--max-cost") in capsys.readouterr().err


@pytest.mark.system
def test_the_command_line_states_at_once_why_its_job_waits(
    served: Served, client: httpx.Client, miner: ScriptedMiner, tmp_path: Path
) -> None:
    """Ctrl-C then cancels the job."""
    command = [
        *("--base-url", served.url, "--api-key", served.client_key),
        *("transcribe", "https://example.com/a.mp3", "--model", "base", "--max-cost", "0.0001"),
    ]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    aitbc = Path(sys.executable).with_name("aitbc")
    refused = subprocess.run(
        [aitbc, *command], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert (refused.returncode, "0.0009 more" in refused.stderr) == (1, True)
    waiting = subprocess.Popen(
        [aitbc, *command, "--wait-for-miner"], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert waiting.stderr is not None
    lines = []
    for line in waiting.stderr:
        lines.append(line)
        if "waiting: " in line:
            waiting.send_signal(signal.SIGINT)
    assert waiting.wait(60) == 130
    assert any("waiting: " in line and "0.0009 more" in line for line in lines)


@pytest.mark.sqlite
def test_a_job_that_runs_again_is_announced_only_if_it_waits_again_for_long(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """The time counts from the end of the last run."""
    job_id = submit(client)
    (lease,) = miner.poll()

    async def submitted_long_ago(context: Context) -> None:
        await context.database.write(
            lambda connection: connection.exec_driver_sql("UPDATE jobs SET created_at = created_at - 60")
        )

    served.do(submitted_long_ago)
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
