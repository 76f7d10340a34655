"""A whole agent notifies its owner of what happens to the machine: by a real server, with NVML as a stand-in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aitbc import AITBCClient
from nvml_shim.shim import GPU_IS_LOST, TWO_CARDS
from support.machines.two_cards import WAIT_SECONDS, working

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

THERMAL_SLOWDOWN = 0x40
TWO_POLLS_SECONDS = 12


class Owner(ThreadingHTTPServer):
    """A server that stores the notices that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def until(self, condition: Callable[[list[str]], bool]) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not condition(self.events()):
            assert time.monotonic() < end, self.received
            time.sleep(0.1)

    def events(self) -> list[str]:
        return sorted(notice["event"] for notice in self.received)


class _Handler(BaseHTTPRequestHandler):
    server: Owner

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def test_an_owner_is_notified_once_of_each_event(tmp_path: Path) -> None:
    """A hot card that is slowed down, a lost one, a machine without jobs, and one that the operator excludes. A kill repeats nothing."""
    with (
        Owner() as owner,
        working(
            tmp_path,
            AITBC_MINER__NAME="rig-1",
            AITBC_MINER__NOTICES__WEBHOOK=f"http://127.0.0.1:{owner.server_address[1]}/",
            AITBC_MINER__NOTICES__HOLD_SECONDS="0",
            AITBC_MINER__NOTICES__IDLE_HOURS="0.005",
        ) as rig,
    ):
        rig.shim.change(0, temperature=97, clocks=THERMAL_SLOWDOWN)
        rig.shim.change(1, error=GPU_IS_LOST)
        owner.until(lambda events: events == ["earns_nothing", "gpu_hot", "gpu_lost", "gpu_throttled"])
        texts = {notice["event"]: notice for notice in owner.received}
        assert texts["gpu_lost"]["gpu"] == TWO_CARDS[1].uuid
        assert "Restart the machine" in texts["gpu_lost"]["text"]
        assert texts["gpu_hot"]["text"].startswith("rig-1: GPU 0 (NVIDIA GeForce RTX 4090, GPU-1111")
        assert "aitbc-agent status" in texts["earns_nothing"]["text"]
        rig.agent.kill()
        rig.shim.change(1, error=None)
        rig.agent.start()
        miner = rig.until(lambda miner: len(miner["gpus"]) == 2)
        time.sleep(TWO_POLLS_SECONDS)  # in which it must send nothing again
        assert len(owner.received) == 4
        assert rig.agent.cli("notices").stdout == "The notice was sent.\n"
        assert owner.received[-1]["event"] == "test"
        with AITBCClient(rig.agent.file["admin_key"], rig.agent.url) as operator:
            operator.admin.exclude_miner(miner["miner_id"], reason="for an experiment")
        owner.until(lambda events: "miner_withdrawn" in events)
        assert "for an experiment" in owner.received[-1]["text"]
