"""The story of a payout: a miner on another machine earns, names an address, and is paid in spite of a crash and a thief."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from aitbc.errors import JobFailed
from support.agents import Agent, running
from support.inputs.media import make_video
from support.servers.ports import reserved_port

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("payouts")]

SETTINGS = {
    "AITBC_PAYOUTS__HOLD_HOURS": "0",
    "AITBC_PAYOUTS__NEW_MINER_HOURS": "0",
    "AITBC_PAYOUTS__MINIMUM": "0.00000001",
    "AITBC_PAYOUTS__POLL_SECONDS": "0.2",
}
IBAN, THIEFS = "DE89370400440532013000", "DE75512108001245126199"
JOB_SECONDS = 90


@dataclass
class Network:
    """A coordinator, and a miner with another data directory that has joined it."""

    coordinator: Agent
    miner: Agent

    def json(self, agent: Agent, *words: str) -> Any:
        return json.loads(agent.cli(*words, "--json").stdout)

    def payouts(self, *words: str) -> Any:
        return self.json(self.coordinator, "payouts", *words)

    def ask(self, path: str, method: str = "GET", **body: Any) -> Any:
        """Call the coordinator as its administrator."""
        url, headers = f"{self.coordinator.url}/v1/{path}", {"X-API-Key": self.coordinator.file["admin_key"]}
        return httpx.request(method, url, json=body or None, headers=headers).raise_for_status().json()

    def when_sent(self, batch_id: str) -> Any:
        """Wait until the payments of a batch are sent."""
        deadline = time.monotonic() + 60
        while (found := self.ask(f"admin/payouts/{batch_id}"))["counts"] != {"sent": 1}:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    # The same port after a kill, as in a real installation.
    with reserved_port() as port:
        coordinator = Agent(tmp_path / "coordinator", "coordinator", "--port", str(port), **SETTINGS)
        with running(coordinator):
            token = coordinator.cli("enroll").stdout.strip()
            miner = Agent(tmp_path / "miner", "start", "--coordinator", coordinator.url, "--enroll", token)
            with running(miner):
                yield Network(coordinator, miner)


def test_a_miner_is_paid(network: Network, tmp_path: Path) -> None:
    coordinator, miner = network.coordinator, network.miner
    earn(coordinator, make_video(tmp_path / "in.mov", seconds=1, size="320x180"))
    miner_id = miner.file["miner_id"]

    # Without an address, it is not paid. A thief with the owner's key cannot set one.
    dry_run = {"adapter": "file", "rate": "100000", "dry_run": True}
    omitted = network.ask("admin/payouts", "POST", **dry_run)["omitted"]
    assert [(one["miner_id"], one["reason"]) for one in omitted] == [(miner_id, "no_address")]
    stolen = {"X-API-Key": miner.file["miner_key"]}
    path = f"{coordinator.url}/v1/miners/{miner_id}/payout-address"
    assert httpx.put(path, json={"address": THIEFS, "adapter": "file"}, headers=stolen).status_code == 422
    assert network.ask(f"miners/{miner_id}/payout-address")["address"] is None

    miner.cli("payouts", "address", "set", "DE89 3704 0044 0532 0130 00")
    draft = network.payouts("preview", "--rate", "100000")
    assert [one["address"] for one in draft["payouts"]] == [IBAN]
    batch_id = network.payouts("create", "--rate", "100000", "--note", "November")["batch_id"]
    assert network.ask(f"miners/{miner_id}/payouts")["pending"] == draft["amount"]
    assert network.payouts("approve", "November")["status"] == "approved"
    sent = network.when_sent(batch_id)

    # The coordinator loses power, and goes on: one file for the bank, with the same bytes.
    (file,) = (coordinator.data_dir / "coordinator" / "payouts").glob("*.json")
    content = file.read_bytes()
    coordinator.kill()
    coordinator.start()
    after = network.when_sent(batch_id)
    assert (after["transfers"][0]["reference"], file.read_bytes()) == (
        sent["transfers"][0]["reference"],
        content,
    )
    assert [one["address"] for one in json.loads(content)["payments"]] == [IBAN]

    coordinator.cli("payouts", "confirm", batch_id)
    assert network.ask(f"admin/payouts/{batch_id}")["status"] == "confirmed"
    money = network.json(miner, "payouts", "history")
    assert (money["available"], money["pending"], money["paid_out"]) == ("0", "0", draft["amount"])
    assert json.loads(coordinator.cli("fsck", "--json").stdout)["ok"]

    verify(network, money["payouts"][0]["payout_id"], tmp_path)


def earn(coordinator: Agent, video: Path) -> None:
    """Have the miner run a job."""
    with coordinator.client() as client:
        stored = client.artifacts.upload(video)
        job = client.services.call(
            "ffmpeg/transcode",
            {"input_url": f"artifact:{stored.artifact_id}", "output_format": "mp4", "codec": "h264"},
        )
        with suppress(JobFailed):
            client.jobs.wait(job["job_id"], timeout=JOB_SECONDS)
        assert client.jobs.get(job["job_id"])["status"] == "completed"


def verify(network: Network, payout_id: str, directory: Path) -> None:
    """The owner verifies the payment, first with the coordinator, then offline; a changed amount does not verify."""
    proof, log_key = directory / "proof.json", network.coordinator.file["log_key"]
    shown = network.miner.cli("payouts", "verify", payout_id, "--save", str(proof)).stdout
    assert f"EUR to {IBAN}" in shown
    log = f"{network.coordinator.url}/v1/log"
    command = [
        Path(sys.executable).with_name("aitbc"),
        "log",
        "verify",
        log,
        "--verbose",
        "--log-key",
        log_key,
    ]
    assert "1 payouts" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert network.miner.stop() == 0
    assert network.coordinator.stop() == 0
    offline = network.miner.cli("payouts", "verify", str(proof), "--log-key", log_key)
    assert offline.stdout.splitlines()[-1].startswith("valid: ")
    changed = json.loads(proof.read_text())
    changed["payment"]["sent_amount"] = "999999"
    proof.write_text(json.dumps(changed))
    refused = network.miner.cli("payouts", "verify", str(proof), "--log-key", log_key, check=False)
    assert (refused.returncode, refused.stdout.splitlines()[-1]) == (3, f"NOT valid: {proof}")
