"""A miner without runners: it registers, accepts leases and returns signed results as fast as possible.

    python -m measuring.miner URL SLOTS

It uses the miner's own link (`agent.miner.link.client`), so registration, slots, leases and results are those of a real miner; only
the runner and the outbox are missing. For every accepted result it prints a line: the job's id, and CLOCK_MONOTONIC in nanoseconds
when the lease arrived, when the result was sent, and when the response arrived.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import structlog
import uvloop
from nacl.signing import SigningKey

from agent import __version__
from agent.core.values.quantities import format_time
from agent.miner.identity import Identity
from agent.miner.link.client import CoordinatorLink, LinkCallbacks
from agent.miner.runs.lease import Lease
from agent.protocol.answers import Registered
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.dsse import sign_envelope
from aitbc.keys import miner_id
from aitbc.statement import PAYLOAD_TYPE, RESULT_NAME, NamedDigest, Statement, job_price

SERVICE = "llm_inference"
MODEL = "smollm2-135m-instruct"
UNIT = "token"
UNITS = 48
RESULTS = {
    "text": "A signed answer of the length that a short question gets. " * 3,
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 16, "completion_tokens": UNITS - 16, "total_tokens": UNITS},
    "processing_time": 0.25,
    "units": UNITS,
}
WEIGHTS = NamedDigest(MODEL, "0" * 64)


def capabilities(slots: int) -> dict[str, Any]:
    """Describe a machine with one language model and many slots."""
    service = {
        "runner": "measuring", "version": "1", "models": [MODEL], "loaded": [MODEL], "downloadable": False,
        "unit_price": "0.00001", "features": {}, "concurrency": 1, "unavailable_models": [], "score": None,
    }  # fmt: skip
    return {
        "services": {SERVICE: service}, "unavailable": {}, "cpu_cores": 64, "memory": 2**38, "disk_free": 2**40, "gpus": [],
        "slots": slots,
    }  # fmt: skip


class Miner:
    """See the module."""

    def __init__(self, url: str, slots: int) -> None:
        key = SigningKey.generate()
        public_key = bytes(key.verify_key)
        self._identity = Identity(key, public_key, miner_id(public_key))
        self._slots = slots
        self._held: dict[str, int] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._origin = ""
        callbacks = LinkCallbacks(
            lease=self._accept,
            cancelled=lambda job_id, _: sys.exit(f"{job_id} was cancelled"),
            joining=lambda: {
                "name": "measuring", "agent_version": __version__, "enrolment_token": None, "capabilities": capabilities(slots),
                "holding": [],
            },
            registered=self._registered,
            excluded=lambda: None,
            connected=lambda: None,
            recheck=lambda: None,
        )  # fmt: skip
        self._link = CoordinatorLink(url, self._identity, transport="websocket")
        self._link.attach(callbacks)

    async def run(self) -> None:
        """Run until the process is ended."""
        registration = await self._link.register()
        self._link.set_slots(self._slots)
        heartbeat = asyncio.create_task(self._beat(registration.settings.heartbeat_seconds), name="heartbeat")
        try:
            await self._link.run()
        finally:
            heartbeat.cancel()

    def _registered(self, registration: Registered) -> None:
        self._origin = registration.origin

    async def _beat(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            leases = [{"job_id": job_id, "fence": fence} for job_id, fence in self._held.items()]
            await self._link.call("heartbeat", None, {"leases": leases, "gpus": []})

    def _accept(self, values: Mapping[str, Any]) -> None:
        came = time.monotonic_ns()
        lease = Lease.read(values)
        self._held[lease.job_id] = lease.fence
        self._link.set_slots(self._slots - len(self._held))
        task = asyncio.create_task(self._deliver(lease, came), name=f"result-{lease.job_id}")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _deliver(self, lease: Lease, came: int) -> None:
        if not lease.has_valid_digest():
            sys.exit(f"the specification of {lease.job_id} does not match its digest")
        body = self._result(lease)
        sent = time.monotonic_ns()
        status, answer = await self._link.call("result", lease.job_id, body)
        if status != 200:
            sys.exit(f"the result of {lease.job_id} was answered {status}: {answer}")
        del self._held[lease.job_id]
        self._link.set_slots(self._slots - len(self._held))
        sys.stdout.write(f"{lease.job_id} {came} {sent} {time.monotonic_ns()}\n")
        sys.stdout.flush()

    def _result(self, lease: Lease) -> dict[str, Any]:
        statement = Statement(
            subject=(NamedDigest(RESULT_NAME, sha256_hex(canonical_json(RESULTS))),),
            job_id=lease.job_id,
            miner_id=self._identity.miner_id,
            fence=lease.fence,
            origin=self._origin,
            spec_digest=lease.spec_digest,
            inputs=(),
            service=SERVICE,
            runner_name="measuring",
            runner_version="1",
            model=WEIGHTS,
            device_kind="cpu",
            device_name="none",
            device_uuid=None,
            started_at=format_time(lease.assigned_at),
            finished_at=format_time(lease.assigned_at),
            units=Decimal(UNITS),
            unit=UNIT,
            unit_price=lease.unit_price,
            price=job_price(Decimal(UNITS), lease.unit_price, lease.max_cost),
        )
        envelope = sign_envelope(PAYLOAD_TYPE, statement.to_payload(), self._identity.signing_key)
        return {"fence": lease.fence, "envelope": envelope, "results": RESULTS, "artifacts": []}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(Miner(sys.argv[1], int(sys.argv[2])).run())
