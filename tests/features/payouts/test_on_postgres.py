"""Calls about payouts that overlap on PostgreSQL: money moves once, and one of two decisions counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, insert

from agent.coordinator.features.log.fsck import examine
from agent.coordinator.features.payouts.store import batches as store
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.store import ledger
from agent.coordinator.store.schema.tables import balances
from agent.core.market.ledger import earned
from support.clients.scripted_miner import ScriptedMiner
from support.payouts.stage import SETTINGS, create, earn, rich_miner
from support.server import Served, serve
from support.servers.interleaving import overlapping

pytestmark = pytest.mark.usefixtures("on_postgresql")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", open_enrolment=True, payouts=SETTINGS) as served:
        yield served


def post(admin: httpx.Client, path: str = "", **body: Any) -> Callable[[], httpx.Response]:
    """Return a call of the administrator's."""
    return lambda: admin.post(f"/v1/admin/payouts{path}", json=body or None)


def test_overlapping_calls(served: Served, client: httpx.Client, admin: httpx.Client) -> None:
    url = served.context.database.server.url
    miner = rich_miner(served, client, "account 1")
    new = {"adapter": "file", "rate": "1"}
    answers = overlapping(url, post(admin, **new), post(admin, **new), (store, "add_batch"))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    batch_id = next(answer.json()["batch_id"] for answer in answers if answer.status_code == 201)

    decisions = overlapping(
        url, post(admin, f"/{batch_id}/approve"), post(admin, f"/{batch_id}/cancel"), (store, "approve")
    )
    # The approval came first; the cancellation counts unless the worker has begun.
    assert decisions[0].status_code == 200
    assert decisions[1].status_code in {200, 409}

    earn(client, miner)
    while_it_grows = overlapping(url, post(admin, **new), lambda: earn(client, miner), (store, "add_batch"))
    made = while_it_grows[0].json()
    left = balance(served, miner)
    assert made["status"] == "created"
    assert left == 10_000_000  # what was earned meanwhile is in the next batch

    earn(client, miner)
    while_it_shrinks = overlapping(
        url, post(admin, **new), lambda: forfeit(served, miner), (store, "add_batch")
    )
    assert while_it_shrinks[0].json()["amount"] == "0.15"
    assert balance(served, miner) == 0
    assert create(admin, dry_run=True)["count"] == 0
    found = served.context.database.read_now(examine, served.context.signer.vkey, {}, EXAMINERS)
    # The forfeit of this test has no entry in the ledger.
    assert {one.message for one in found.problems} <= {
        f"the balance of earned:{miner.miner_id} is 0, but its postings add up to 5000000"
    }


def balance(served: Served, miner: ScriptedMiner) -> int:
    """Return what a miner has earned and was not paid."""
    return served.context.database.read_now(ledger.balance, earned(miner.miner_id))


def forfeit(served: Served, miner: ScriptedMiner) -> None:
    """Take 0.05 from what a miner has earned."""

    def change(connection: Connection) -> None:
        part = {"ledger_account": earned(miner.miner_id), "part": 1, "amount": -5_000_000}
        connection.execute(insert(balances), part)

    served.do(lambda context: context.database.write(change))
