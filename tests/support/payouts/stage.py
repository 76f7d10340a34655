"""Miners that have earned money, their payout addresses, and an administrator's calls about batches."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import httpx

from aitbc.leaves.payouts import PayoutAddress
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served

SETTINGS: dict[str, Any] = {
    "hold_hours": 0,
    "new_miner_hours": 0,
    "minimum": "0.01",
    "poll_seconds": 0.05,
    "retry_seconds": 0.05,
    "file": {"address": "text"},
}
"""Settings of payouts without a hold, so that tests need not wait."""
LIMIT_SECONDS = 180
_sequences = itertools.count(time.time_ns() // 1_000_000)


def earn(client: httpx.Client, miner: ScriptedMiner, units: int = 100) -> None:
    """Have a miner earn the price of this many units: 0.001 each."""
    submit(client, pricing={"max_cost": "1"})
    miner.complete(miner.poll()[0], {"text": "hello", "units": units}).raise_for_status()


def rich_miner(
    served: Served, client: httpx.Client, address: str | None = None, units: int = 100
) -> ScriptedMiner:
    """Return a registered miner that has earned money, with this payout address."""
    miner = ScriptedMiner(served.url)
    assert miner.register().status_code == 200
    earn(client, miner, units)
    if address is not None:
        set_address(served, miner, address).raise_for_status()
    return miner


def statement(served: Served, miner: ScriptedMiner, address: str, **changes: Any) -> PayoutAddress:
    """Return a miner's statement about its address."""
    values = {
        "miner_id": miner.miner_id,
        "adapter": "file",
        "address": address,
        "currency": "EUR",
        "sequence": next(_sequences),
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "origin": served.context.signer.origin,
    }
    return PayoutAddress(**{**values, **changes})


def set_address(served: Served, miner: ScriptedMiner, address: str, **changes: Any) -> httpx.Response:
    """Sign and send a payout address, without a key."""
    envelope = statement(served, miner, address, **changes).sign(miner.key)
    return miner.http.put(f"/{miner.miner_id}/payout-address", json=envelope)


def create(admin: httpx.Client, **options: Any) -> dict[str, Any]:
    """Create a batch, or compute it with `dry_run=True`."""
    answer = admin.post("/v1/admin/payouts", json={"adapter": "file", "rate": "1", **options})
    assert answer.is_success, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def batch_of(admin: httpx.Client, batch_id: str) -> dict[str, Any]:
    """Return a batch."""
    found: dict[str, Any] = admin.get(f"/v1/admin/payouts/{batch_id}").raise_for_status().json()
    return found


def wait_for(admin: httpx.Client, batch_id: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until a batch satisfies a condition, and return it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not reached(batch := batch_of(admin, batch_id)):
        assert time.monotonic() < deadline, batch
        time.sleep(0.01)
    return batch


def approve(admin: httpx.Client, batch_id: str) -> dict[str, Any]:
    """Approve a batch."""
    answer = admin.post(f"/v1/admin/payouts/{batch_id}/approve")
    assert answer.is_success, answer.text
    batch: dict[str, Any] = answer.json()
    return batch
