"""What others report about payments: administrators their outcomes, miners the invoices that they wait for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.payouts.store import checks as payout_checks
from agent.coordinator.store import ledger
from support.payouts.commands import Command, commands
from support.payouts.stage import SETTINGS, approve, batch_of, create, rich_miner, wait_for
from support.server import Served, serve


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(
        tmp_path / "data", open_enrolment=True, payouts={**SETTINGS, "rates": {"EUR": "0.5"}}
    ) as served:
        yield served
        assert served.do(lambda context: context.database.read(ledger.problems)) == []
        assert served.do(lambda context: context.database.read(payout_checks.problems)) == []


@pytest.fixture
def command(served: Served, tmp_path: Path) -> Iterator[Command]:
    with commands(served, tmp_path / "data") as run:
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


def test_the_rate_may_come_from_the_settings(admin: httpx.Client) -> None:
    """For each currency; a request without one is refused only if there is no setting either."""
    asked = {"adapter": "file", "dry_run": True}
    answer = admin.post("/v1/admin/payouts", json=asked)
    assert (answer.status_code, answer.json()["rate"]) == (200, "0.5")
    named = admin.post("/v1/admin/payouts", json={**asked, "rate": "0.75"})
    assert named.json()["rate"] == "0.75"
