"""`kill -9` of a coordinator between the end of a job and the delivery of its webhook."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from support.agents import Agent, running
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.servers.receiver import Receiver

pytestmark = pytest.mark.chaos

SETTINGS = {
    "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
    "AITBC_COORDINATOR__WEBHOOKS__ALLOW_HTTP": "true",
    "AITBC_COORDINATOR__WEBHOOKS__ALLOW_PRIVATE": "true",
    "AITBC_COORDINATOR__WEBHOOKS__TIMEOUT_SECONDS": "2",
}
RESULTS = {"text": "hello", "units": 1.5, "processing_time": 0.5}


def test_the_message_is_delivered_again_after_the_restart(tmp_path: Path) -> None:
    """At the kill, its receiver has the message but has not responded, so the same message is sent again."""
    gate = threading.Event()
    coordinator = Agent(tmp_path / "coordinator", "coordinator", "--port", "0", **SETTINGS)
    with Receiver(secure=False).running() as receiver, running(coordinator):
        receiver.answers.append(gate)
        client = httpx.Client(base_url=coordinator.url, headers={"X-API-Key": coordinator.file["client_key"]})
        secret = client.get("/v1/webhooks/secret").json()["secret"]
        miner = ScriptedMiner(coordinator.url)
        assert miner.register().status_code == 200
        job_id = submit(client, webhook_url=f"http://127.0.0.1:{receiver.port}/hook")
        (lease,) = miner.poll()
        assert miner.complete(lease, RESULTS).status_code == 200
        receiver.wait(1)
        coordinator.kill()
        gate.set()
        coordinator.start()
        first, second = receiver.wait(2)
        assert first.webhook_id == second.webhook_id == f"msg_{job_id[4:]}"
        assert first.body == second.body
        assert second.verified(secret)["data"]["job_id"] == job_id
