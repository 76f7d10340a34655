"""Miners hand in the invoices that their payments wait for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey

from agent.coordinator.features.payouts.signed_hand_in import PayoutHandIn
from agent.coordinator.features.payouts.store import checks as payout_checks
from agent.coordinator.store import ledger
from agent.core.values.quantities import format_time
from lightning_node import PAYEE, LightningNode, invoice
from support.clients.scripted_miner import ScriptedMiner
from support.payouts.commands import Command, commands
from support.payouts.stage import SETTINGS, approve, batch_of, create, rich_miner, set_address, wait_for
from support.server import Served, serve


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LightningNode]:
    with LightningNode(tmp_path / "rpc").running() as node:
        yield node


@pytest.fixture
def served(tmp_path: Path, node: LightningNode) -> Iterator[Served]:
    lightning = {"socket": str(node.path), "network": "regtest"}
    payouts = {**SETTINGS, "adapters": ["file", "lightning"], "lightning": lightning}
    with serve(tmp_path / "data", open_enrolment=True, payouts=payouts) as served:
        yield served
        assert served.do(lambda context: context.database.read(ledger.problems)) == []
        assert served.do(lambda context: context.database.read(payout_checks.problems)) == []


@pytest.fixture
def command(served: Served, tmp_path: Path) -> Iterator[Command]:
    with commands(served, tmp_path / "data") as run:
        yield run


def lightning_batch(
    served: Served, client: httpx.Client, admin: httpx.Client
) -> tuple[ScriptedMiner, dict[str, Any]]:
    """Return a miner and its payment, which waits for an invoice."""
    miner = rich_miner(served, client)
    destination = {"adapter": "lightning", "currency": "BTC"}

    set_address(served, miner, PAYEE, **destination).raise_for_status()
    batch = create(admin, adapter="lightning", rate="0.001")
    approve(admin, batch["batch_id"])
    found = wait_for(
        admin, batch["batch_id"], lambda found: found["payouts"][0].get("waiting_for") is not None
    )
    return miner, found["payouts"][0]


def test_a_payment_waits_for_an_invoice_of_its_miner(
    served: Served, client: httpx.Client, admin: httpx.Client, command: Command, node: LightningNode
) -> None:
    miner, payment = lightning_batch(served, client, admin)
    msat = int(Decimal(payment["sent_amount"]) * 10**11)
    assert (
        payment["waiting_for"] == f"an invoice for {msat} msat with {payment['payout_id']} in its description"
    )
    report = {"outcomes": [{"payout_id": payment["payout_id"], "outcome": "failed"}]}
    refused = admin.post(f"/v1/admin/payouts/{payment['batch_id']}/outcomes", json=report)
    assert refused.json()["error"]["message"].startswith("The adapter lightning reports the outcomes itself.")

    cheap = invoice(msat - 1000, payment["payout_id"], date=time.time())
    assert "its amount is" in command("payouts", "invoice", payment["payout_id"], cheap, miner=miner, code=1)
    good = invoice(msat, payment["payout_id"], date=time.time())
    said = command("payouts", "invoice", payment["payout_id"], good, miner=miner)
    paid = f"{payment['sent_amount']} BTC will be paid.\n"
    assert said.endswith(f"The invoice of {payment['payout_id']} is accepted; {paid}")
    done = wait_for(admin, payment["batch_id"], lambda found: found["status"] == "confirmed")
    assert done["payouts"][0]["reference"].startswith("preimage ")
    assert list(node.paid.values()) == [1]
    late = command("payouts", "invoice", payment["payout_id"], good, miner=miner, code=1)
    assert "needs nothing more" in late


def test_attack_an_api_key_or_another_miners_key_hands_in_nothing(
    served: Served, client: httpx.Client, admin: httpx.Client
) -> None:
    miner, payment = lightning_batch(served, client, admin)
    msat = int(Decimal(payment["sent_amount"]) * 10**11)
    statement = PayoutHandIn(
        payout_id=payment["payout_id"],
        miner_id=miner.miner_id,
        text=invoice(msat, payment["payout_id"], date=time.time(), number=7),
        created_at=format_time(time.time()),
        origin=served.context.signer.origin,
    )

    def sent(one: PayoutHandIn, key: SigningKey) -> tuple[int, str]:
        path = f"{served.url}/v1/payouts/{payment['payout_id']}/hand-in"
        headers = {"X-API-Key": miner.registration["api_key"]}
        answer = httpx.post(path, json=one.sign(key), headers=headers)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    assert sent(statement, SigningKey.generate()) == (403, "FORBIDDEN")
    for change in (
        {"origin": "elsewhere"},
        {"payout_id": "payout_other"},
        {"created_at": format_time(time.time() - 90_000)},
        {"created_at": format_time(time.time() + 600)},
    ):
        assert sent(statement.model_copy(update=change), miner.key) == (403, "FORBIDDEN"), change
    assert json.dumps(batch_of(admin, payment["batch_id"])["counts"]) == '{"approved": 1}'
    assert sent(statement, miner.key) == (200, "")
