"""Debits: money that an operator takes back, once, and not below zero unless forced."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from agent.coordinator.store import ledger
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served


@pytest.fixture
def account(admin: httpx.Client) -> str:
    """An account with a balance of 10."""
    account_id: str = admin.post("/v1/admin/accounts", json={"name": "a customer"}).json()["account_id"]
    credit(admin, account_id, "10").raise_for_status()
    return account_id


def credit(admin: httpx.Client, account_id: str, amount: str, **headers: str) -> httpx.Response:
    path = f"/v1/admin/accounts/{account_id}/credit"
    return admin.post(path, json={"amount": amount}, headers=headers)


def debit(
    admin: httpx.Client, account_id: str, amount: str, key: str | None = None, **body: Any
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    path = f"/v1/admin/accounts/{account_id}/debits"
    return admin.post(path, json={"amount": amount, **body}, headers=headers)


def balance(admin: httpx.Client, account_id: str) -> str:
    accounts = admin.get("/v1/admin/accounts").json()["accounts"]
    found: str = next(item["balance"] for item in accounts if item["account_id"] == account_id)
    return found


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def the_ledger_balances(served: Served) -> None:
    assert served.do(lambda context: context.database.read(ledger.problems)) == []


def test_a_debit_is_booked_and_the_client_sees_it(
    served: Served, admin: httpx.Client, client: httpx.Client
) -> None:
    account_id = client.get("/v1/wallet").json()["account_id"]
    before = Decimal(client.get("/v1/wallet").json()["balance"])
    issued = Decimal(admin.get("/v1/wallet").json()["issued"])
    answer = debit(admin, account_id, "2.5", note="paid out")
    assert answer.status_code == 201
    assert Decimal(answer.json()["balance"]) == before - Decimal("2.5")
    newest = client.get("/v1/wallet/transactions").json()["transactions"][0]
    assert newest["transaction_id"] == answer.json()["transaction_id"]
    assert (newest["type"], newest["amount"], newest["note"]) == ("debit", "2.5", "paid out")
    assert Decimal(admin.get("/v1/wallet").json()["issued"]) == issued - Decimal("2.5")
    the_ledger_balances(served)


def test_no_more_than_the_balance_is_debited(served: Served, admin: httpx.Client, account: str) -> None:
    refused = debit(admin, account, "10.00000001")
    assert error(refused) == (402, "INSUFFICIENT_BALANCE")
    assert refused.json()["error"]["details"] == {"needed": "10.00000001", "balance": "10"}
    assert balance(admin, account) == "10"
    assert debit(admin, account, "10").json()["balance"] == "0"
    the_ledger_balances(served)


def test_money_held_for_jobs_is_not_debited(admin: httpx.Client, client: httpx.Client) -> None:
    submit(client, pricing={"max_cost": "5"})
    wallet = client.get("/v1/wallet").json()
    assert error(debit(admin, wallet["account_id"], str(Decimal(wallet["balance"]) + 1)))[0] == 402
    assert debit(admin, wallet["account_id"], wallet["balance"]).json()["balance"] == "0"
    assert client.get("/v1/wallet").json()["held"] == wallet["held"]


def test_a_forced_debit_makes_the_balance_negative_until_it_is_credited(
    served: Served, admin: httpx.Client, account: str
) -> None:
    """A job is refused meanwhile, and the ledger's check finds no problem."""
    assert debit(admin, account, "15", force=True).json()["balance"] == "-5"
    the_ledger_balances(served)
    body = {"role": "client", "name": "k", "account_id": account}
    key = admin.post("/v1/admin/keys", json=body).json()["key"]
    job = {"audio_url": "https://example.com/a.mp3", "model": "base", "pricing": {"max_cost": "1"}}
    answer = httpx.post(f"{served.url}/v1/services/whisper/transcribe", json=job, headers={"X-API-Key": key})
    assert error(answer) == (402, "INSUFFICIENT_BALANCE")
    assert credit(admin, account, "7").json()["balance"] == "2"
    the_ledger_balances(served)


def test_overdrafts_never_let_an_account_have_more_than_the_ledger_can_count(
    served: Served, admin: httpx.Client, account: str
) -> None:
    """The overdrafts of all accounts are bounded together, and credits that pay them off count as issued."""
    most = "9999999999"
    for book in (debit, credit):
        options = {"force": True} if book is debit else {}
        for _ in range(8):
            book(admin, account, most, **options).raise_for_status()
        for _ in range(2):
            last = book(admin, account, most, **options)
        assert error(last) == (422, "VALIDATION_ERROR")
    the_ledger_balances(served)


@pytest.mark.parametrize("book", [debit, credit], ids=["debit", "credit"])
def test_a_repeated_request_books_once(admin: httpx.Client, account: str, book: Any) -> None:
    def request(amount: str) -> httpx.Response:
        if book is debit:
            return debit(admin, account, amount, key="invoice 7")
        return credit(admin, account, amount, **{"Idempotency-Key": "invoice 7"})

    first = request("3")
    after = balance(admin, account)
    assert request("3").json() == first.json()
    assert balance(admin, account) == after != "10"
    assert error(request("4")) == (409, "CONFLICT")


def test_a_clients_key_cannot_collide_with_an_operators(
    admin: httpx.Client, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """The client chooses its own keys, and could otherwise refuse a debit that it expects."""
    account_id = client.get("/v1/wallet").json()["account_id"]
    body = {"audio_url": "https://example.com/a.mp3", "model": "base"}
    for key in ("invoice 7", "debit invoice 7"):
        headers = {"Idempotency-Key": key}
        client.post("/v1/services/whisper/transcribe", json=body, headers=headers).raise_for_status()
    assert debit(admin, account_id, "1", key="invoice 7").status_code == 201


@pytest.mark.parametrize("amount", ["0", "-1", "0.000000001", "lots"])
def test_only_positive_amounts_are_debited(admin: httpx.Client, account: str, amount: str) -> None:
    assert error(debit(admin, account, amount)) == (422, "VALIDATION_ERROR")
    assert balance(admin, account) == "10"


def test_an_unknown_account_is_not_debited(admin: httpx.Client) -> None:
    assert error(debit(admin, "account_x", "1")) == (404, "NOT_FOUND")
