"""Money: credits, holds, payments and refunds, and jobs refused for an insufficient balance."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from agent.coordinator.store import ledger
from agent.coordinator.store.database import Connection
from agent.coordinator.store.schema.tables import balances
from agent.core.market.ledger import available
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 100}


def wallet(client: httpx.Client) -> tuple[Decimal, Decimal]:
    answer = client.get("/v1/wallet").raise_for_status().json()
    return Decimal(answer["balance"]), Decimal(answer["held"])


def payment(client: httpx.Client, job_id: str) -> dict[str, Any]:
    page = client.get("/v1/wallet/transactions").raise_for_status().json()
    found: dict[str, Any] = next(item for item in page["transactions"] if item.get("job_id") == job_id)
    return found


def test_a_job_holds_its_max_cost_and_costs_its_units(client: httpx.Client, miner: ScriptedMiner) -> None:
    balance, held = wallet(client)
    job_id = submit(client, pricing={"max_cost": "0.5"}, name="an interview")
    assert wallet(client) == (balance - Decimal("0.5"), held + Decimal("0.5"))
    assert payment(client, job_id)["status"] == "pending"
    assert payment(client, job_id)["job_name"] == "an interview"

    lease = miner.poll()[0]
    price = 100 * Decimal(lease["unit_price"])
    assert 0 < price < Decimal("0.5")
    miner.complete(lease, RESULTS).raise_for_status()

    assert wallet(client) == (balance - price, held)
    paid = payment(client, job_id)
    assert (paid["status"], Decimal(paid["amount"]), paid["miner_id"]) == ("settled", price, miner.miner_id)
    assert Decimal(paid["refunded"]) == Decimal("0.5") - price
    assert paid["transaction_id"] == "tx_" + job_id.removeprefix("job_")
    owner = {"X-API-Key": miner.registration["api_key"]}
    listed = httpx.get(client.base_url.join("/v1/wallet/transactions"), headers=owner).raise_for_status()
    earned = listed.json()["transactions"][0]
    assert earned["job_id"] == job_id
    assert earned.get("job_name") is None  # it may contain the prompt


def test_a_repeated_result_is_not_paid_again(client: httpx.Client, miner: ScriptedMiner) -> None:
    submit(client, pricing={"max_cost": "0.5"})
    lease = miner.poll()[0]
    body = miner.result_body(lease, RESULTS)
    miner.http.post(f"/jobs/{lease['job_id']}/result", json=body).raise_for_status()
    after = wallet(client)
    miner.http.post(f"/jobs/{lease['job_id']}/result", json=body).raise_for_status()
    assert wallet(client) == after


def test_a_miner_is_paid_no_more_than_the_job_may_cost(client: httpx.Client, miner: ScriptedMiner) -> None:
    balance, _ = wallet(client)
    submit(client, pricing={"max_cost": "0.001"})
    miner.complete(miner.poll()[0], {"text": "long", "units": 10**6}).raise_for_status()
    assert wallet(client)[0] == balance - Decimal("0.001")


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_job_without_a_result_costs_nothing(
    client: httpx.Client, miner: ScriptedMiner, ending: str
) -> None:
    before = wallet(client)
    job_id = submit(client, pricing={"max_cost": "0.5"})
    if ending == "failed":
        failure = {"kind": "fail", "code": "BAD_AUDIO", "message": "This is no audio."}
        miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
    else:
        client.delete(f"/v1/jobs/{job_id}").raise_for_status()
    assert wallet(client) == before
    assert payment(client, job_id)["status"] == "refunded"


def test_a_cancelled_run_costs_the_reported_work(client: httpx.Client, miner: ScriptedMiner) -> None:
    before, held = wallet(client)
    job_id = submit(client, pricing={"max_cost": "0.5"})
    lease = miner.poll()[0]
    progress = [{"kind": "progress", "data": {"progress": 40, "units": "40"}}]
    miner.job(lease, "events", events=progress).raise_for_status()
    client.delete(f"/v1/jobs/{job_id}").raise_for_status()
    assert wallet(client) == (before - 40 * Decimal(lease["unit_price"]), held)
    assert payment(client, job_id)["miner_id"] == miner.miner_id


def test_a_job_beyond_the_balance_is_not_queued(served: Served, client: httpx.Client) -> None:
    balance, held = wallet(client)
    body = {
        "type": "whisper-transcription",
        "parameters": {"audio_url": "https://example.com/a.mp3", "model": "base"},
        "pricing": {"max_cost": str(balance + 1)},
    }
    jobs = client.get("/v1/jobs").json()["total"]
    refused = client.post("/v1/jobs", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (402, "INSUFFICIENT_BALANCE")
    assert error["details"] == {
        "balance": f"{balance.normalize():f}",
        "needed": f"{balance.normalize() + 1:f}",
    }
    assert client.get("/v1/jobs").json()["total"] == jobs
    assert wallet(client) == (balance, held)


def test_an_operator_credits_an_account(served: Served, admin: httpx.Client) -> None:
    account_id = admin.post("/v1/admin/accounts", json={"name": "new"}).json()["account_id"]
    key = admin.post(
        "/v1/admin/keys", json={"role": "client", "name": "new", "account_id": account_id}
    ).json()["key"]
    with httpx.Client(base_url=served.url, headers={"X-API-Key": key}) as newcomer:
        assert wallet(newcomer) == (0, 0)
        credit = admin.post(
            f"/v1/admin/accounts/{account_id}/credit", json={"amount": "12.5", "note": "welcome"}
        )
        assert credit.status_code == 201
        assert credit.json()["balance"] == "12.5"
        assert wallet(newcomer) == (Decimal("12.5"), 0)
        page = newcomer.get("/v1/wallet/transactions").json()
        assert [(item["type"], item["amount"], item["note"]) for item in page["transactions"]] == [
            ("credit", "12.5", "welcome")
        ]
        refused = newcomer.post(f"/v1/admin/accounts/{account_id}/credit", json={"amount": "1000000"})
        assert refused.status_code == 403


@pytest.mark.parametrize(
    ("amount", "status"), [("0", 422), ("-1", 422), (1.5, 422), ("1e3", 422), ("0.000000001", 422)]
)
def test_a_credit_is_a_decimal_string_above_zero(admin: httpx.Client, amount: Any, status: int) -> None:
    account_id = admin.post("/v1/admin/accounts", json={"name": "new"}).json()["account_id"]
    answer = admin.post(f"/v1/admin/accounts/{account_id}/credit", json={"amount": amount})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "VALIDATION_ERROR")


def test_an_unknown_account_is_not_credited(admin: httpx.Client) -> None:
    answer = admin.post("/v1/admin/accounts/account_nobody/credit", json={"amount": "1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_accounts_are_listed_page_by_page_to_administrators_only(
    admin: httpx.Client, client: httpx.Client
) -> None:
    for number in range(3):
        admin.post("/v1/admin/accounts", json={"name": f"account {number}"}).raise_for_status()
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = admin.get("/v1/admin/accounts", params={"limit": 2, **after}).raise_for_status().json()
        seen += [account["name"] for account in page["accounts"]]
        if "next" not in page:
            break
        after = {"after": page["next"]}
    assert seen == ["tester", "somebody else", "account 0", "account 1", "account 2"]
    assert client.get("/v1/admin/accounts").status_code == 403


def test_transactions_are_listed_page_by_page(client: httpx.Client) -> None:
    jobs = [submit(client, pricing={"max_cost": "0.01"}) for _ in range(5)]
    seen: list[str] = []
    before: dict[str, Any] = {}
    while True:
        page = client.get("/v1/wallet/transactions", params={"limit": 2, **before}).json()
        seen += [item.get("job_id", "") for item in page["transactions"]]
        if "next" not in page:
            break
        before = {"before": page["next"]}
    assert [job_id for job_id in seen if job_id] == jobs[::-1]


def test_the_operators_fee_is_deducted_from_the_price(tmp_path: Path) -> None:
    """The client pays the agreed price, the miner gets it less the fee, and all accounts sum to zero."""
    with (
        serve(tmp_path, fee_percent="2.5", open_enrolment=True) as served,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as client,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key}) as admin,
    ):
        miner = ScriptedMiner(served.url)
        owner_key = miner.register().json()["api_key"]
        job_id = submit(client, pricing={"max_cost": "0.5"})
        lease = miner.poll()[0]
        miner.complete(lease, RESULTS).raise_for_status()
        price = 100 * Decimal(lease["unit_price"])
        fee = price * Decimal("0.025")
        assert Decimal(payment(client, job_id)["fee"]) == fee
        owner = client.get("/v1/wallet", headers={"X-API-Key": owner_key}).json()
        assert Decimal(owner["balance"]) == price - fee
        assert Decimal(admin.get("/v1/wallet").json()["balance"]) == fee
        assert served.do(lambda context: context.database.read(ledger.problems)) == []


def test_credits_beyond_64_bits_are_refused(
    client: httpx.Client, admin: httpx.Client, served: Served, tmp_path: Path
) -> None:
    """Ten credits of nearly ten billion exceed an integer of the database."""
    account_id = client.get("/v1/wallet").json()["account_id"]
    path = f"/v1/admin/accounts/{account_id}/credit"
    largest = "9999999999.99999999"
    accepted = 0
    while (answer := admin.post(path, json={"amount": largest})).status_code == 201:
        accepted += 1
        assert accepted < 10
    assert answer.status_code == 422
    fields = answer.json()["error"]["details"]["fields"]
    remaining = fields["amount"].removeprefix("at most ").split()[0]
    assert admin.post(path, json={"amount": remaining}).status_code == 201
    assert admin.post(path, json={"amount": "0.00000001"}).status_code == 422
    assert wallet(client)[0] > 80_000_000_000
    assert served.do(lambda context: context.database.read(ledger.problems)) == []
    with pytest.raises(IntegrityError):
        served.do(lambda context: context.database.write(_overflow, account_id))
    assert served.do(lambda context: context.database.read(ledger.problems)) == []


def _overflow(connection: Connection, account_id: str) -> None:
    """Raise a balance beyond 64 bits, as a defect might: the database refuses instead of storing a fraction."""
    amount = available(account_id)
    connection.execute(update(balances).where(balances.c.ledger_account == amount).values(amount=2**63 - 1))
