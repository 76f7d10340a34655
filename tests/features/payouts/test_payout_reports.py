"""What others report about payments: administrators their outcomes, miners the invoices that they wait for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from typer.testing import CliRunner

from agent.cli import agent_file
from agent.cli.agent_file import AgentFile
from agent.cli.application import app
from agent.coordinator.features.payouts.store import checks as payout_checks
from agent.coordinator.store import ledger
from agent.core.values.quantities import format_time
from agent.miner.identity import IDENTITY_FILE
from agent.protocol.hand_ins import PayoutHandIn
from agent.settings import Settings
from aitbc.canonical import b64encode
from support.clients.scripted_miner import ScriptedMiner
from support.payouts.stage import SETTINGS, approve, batch_of, create, rich_miner, set_address, wait_for
from support.server import Served, serve
from support.servers.lightning_node import PAYEE, LightningNode, invoice

Command = Callable[..., str]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightningNode]:
    with LightningNode(tmp_path_factory.mktemp("node") / "rpc").running() as node:
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
    """Return a function that runs `aitbc-agent` beside this coordinator, and returns its output, after the coordinator's log."""
    settings = Settings(data_dir=tmp_path / "data")
    runner = CliRunner()

    def run(*words: str, code: int = 0, miner: ScriptedMiner | None = None) -> str:
        if miner is not None:
            path = settings.data_dir / "miner" / IDENTITY_FILE
            path.parent.mkdir(exist_ok=True)
            path.touch(0o600)
            path.write_text(b64encode(bytes(miner.key)))
        owner = miner.registration["api_key"] if miner is not None else None
        log_key = served.context.signer.vkey
        agent_file.write(
            settings, AgentFile(served.url, 1, None, log_key, served.client_key, owner, served.admin_key)
        )
        done = runner.invoke(app, [*words, "--data-dir", str(settings.data_dir)])
        assert done.exit_code == code, (done.output, done.exception)
        return done.output if code == 0 else f"{done.output}{done.exception}"

    with agent_file.exclusive(settings):
        yield run


def sent_batch(served: Served, client: httpx.Client, admin: httpx.Client, count: int = 3) -> dict[str, Any]:
    """Return a batch of so many payments in a file."""
    for number in range(count):
        rich_miner(served, client, f"account {number}", units=100 + number)
    batch = create(admin, note="November")
    approve(admin, batch["batch_id"])
    return wait_for(admin, batch["batch_id"], lambda found: found["counts"] == {"sent": count})


def outcome(admin: httpx.Client, batch_id: str, *outcomes: dict[str, Any], **more: Any) -> httpx.Response:
    return admin.post(f"/v1/admin/payouts/{batch_id}/outcomes", json={"outcomes": outcomes, **more})


def test_an_administrator_reports_what_became_of_the_payments(
    served: Served, client: httpx.Client, admin: httpx.Client, command: Command, tmp_path: Path
) -> None:
    batch = sent_batch(served, client, admin)
    batch_id = batch["batch_id"]
    first, second, third = (one["payout_id"] for one in batch["payouts"])
    said = command(
        "payouts", "confirm", "November", "--payout", first, "--failed", "--reason", "It is closed."
    )
    assert said.endswith(f"{batch_id} is sending: 1 failed, 2 sent.\n")
    results = tmp_path / "result.csv"
    results.write_text(f"payout_id,outcome,reason,reference\n{second},confirmed,,E2E-17\n")
    command("payouts", "confirm", batch_id, "--file", str(results))
    command("payouts", "confirm", batch_id, "--file", str(results))
    said = command("payouts", "confirm", batch_id)
    assert said.endswith(f"{batch_id} is failed: 2 confirmed, 1 failed.\n")
    ended = {one["payout_id"]: one for one in batch_of(admin, batch_id)["payouts"]}
    assert (ended[first]["status"], ended[first]["reason"]) == ("failed", "It is closed.")
    assert (ended[second]["status"], ended[second]["reference"]) == ("confirmed", "E2E-17")
    assert ended[third]["status"] == "confirmed"
    assert "has no payment whose outcome is open" in command("payouts", "confirm", batch_id, code=1)


def test_a_report_is_stored_as_a_whole_and_once(
    served: Served, client: httpx.Client, admin: httpx.Client
) -> None:
    batch = sent_batch(served, client, admin, count=2)
    first, second = (one["payout_id"] for one in batch["payouts"])
    right = {"payout_id": first, "outcome": "confirmed"}
    wrong = outcome(admin, batch["batch_id"], right, {"payout_id": "payout_other", "outcome": "failed"})
    assert wrong.status_code == 422
    assert batch_of(admin, batch["batch_id"])["counts"] == {"sent": 2}
    assert outcome(admin, batch["batch_id"], right).status_code == 200
    assert outcome(admin, batch["batch_id"], right).status_code == 200
    contrary = outcome(
        admin, batch["batch_id"], {**right, "outcome": "failed"}, {**right, "payout_id": second}
    )
    assert (contrary.status_code, contrary.json()["error"]["details"]["status"]) == (409, "confirmed")
    assert batch_of(admin, batch["batch_id"])["counts"] == {"confirmed": 1, "sent": 1}
    unsent = create_unsent(served, client, admin)
    assert outcome(admin, unsent["batch_id"], unsent["outcome"]).status_code == 409


def create_unsent(served: Served, client: httpx.Client, admin: httpx.Client) -> dict[str, Any]:
    rich_miner(served, client, "account 9")
    batch = create(admin)
    report = {"payout_id": batch["payouts"][0]["payout_id"], "outcome": "confirmed"}
    return {"batch_id": batch["batch_id"], "outcome": report}


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
    refused = outcome(admin, payment["batch_id"], {"payout_id": payment["payout_id"], "outcome": "failed"})
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
