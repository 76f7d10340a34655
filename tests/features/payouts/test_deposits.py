"""Deposits: money that arrived outside is credited once, on the word of an administrator or of the operator's signed request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from agent.coordinator.store import ledger
from support.guides.blocks import PROJECT
from support.server import Served, serve
from support.servers.payment_service import make_secret

PATH = "/v1/admin/deposits"
SECRET = make_secret()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("deposits")
    with serve(directory / "data", payouts={"http": {"deposit_secret": SECRET}}) as served:
        yield served


@pytest.fixture
def account(admin: httpx.Client) -> str:
    account_id: str = admin.post("/v1/admin/accounts", json={"name": "a customer"}).json()["account_id"]
    return account_id


def balance(admin: httpx.Client, account_id: str) -> str:
    accounts = admin.get("/v1/admin/accounts?limit=500").json()["accounts"]
    found: str = next(item["balance"] for item in accounts if item["account_id"] == account_id)
    return found


def signed(body: bytes, *, secret: str = SECRET, seconds: float = 0, **headers: str) -> dict[str, str]:
    """Return the headers of a signed request, whose time is so many seconds from now."""
    now = datetime.fromtimestamp(datetime.now(UTC).timestamp() + seconds, UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": f"v1,bm9uZQ== {Webhook(secret).sign('msg_1', now, body.decode())}",
        **headers,
    }


def report(served: Served, body: dict[str, Any], **options: Any) -> httpx.Response:
    content = json.dumps(body).encode()
    return httpx.post(f"{served.url}{PATH}", content=content, headers=signed(content, **options))


def test_a_payment_is_credited_once(served: Served, admin: httpx.Client, account: str) -> None:
    body = {"external_id": "tr_1", "account_id": account, "amount": "12.50", "note": "invoice 17"}
    first = admin.post(PATH, json=body)
    assert first.status_code == 201
    again = report(served, body)  # the service reports what an administrator has entered
    assert (again.status_code, again.json()) == (201, first.json())
    assert balance(admin, account) == "12.5"
    assert served.do(lambda context: context.database.read(ledger.problems)) == []
    other = admin.post(PATH, json={**body, "amount": "13"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "CONFLICT")
    assert admin.post(PATH, json={**body, "source": "bank"}).status_code == 201, "ids are those of a source"
    assert balance(admin, account) == "25"


def test_another_currency_is_credited_by_its_rate(admin: httpx.Client, account: str) -> None:
    body = {
        "external_id": "tr_2",
        "account_id": account,
        "amount": "100",
        "currency": "EUR",
        "rate": "0.9137",
    }
    answer = admin.post(PATH, json=body).raise_for_status().json()
    assert answer["amount"] == "109.44511327" == balance(admin, account)
    assert Decimal(answer["amount"]) * Decimal("0.9137") <= 100
    (listed,) = admin.get(PATH, params={"account_id": account}).json()["deposits"]
    assert listed == answer


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "0"},
        {"amount": "0.00000001", "currency": "X", "rate": "3"},
        {"rate": "0"},
        {"rate": "2"},
        {"external_id": ""},
        {"external_id": "a\nb"},
        {"external_id": "tr_3 "},
        {"external_id": " tr_3"},
        {"more": 1},
    ],
)
def test_an_impossible_deposit_is_refused(admin: httpx.Client, account: str, change: dict[str, Any]) -> None:
    body = {"external_id": "tr_3", "account_id": account, "amount": "1", **change}
    assert admin.post(PATH, json=body).status_code == 422
    assert balance(admin, account) == "0"


def test_only_a_right_and_recent_signature_passes(served: Served, admin: httpx.Client, account: str) -> None:
    body = {"external_id": "tr_4", "account_id": account, "amount": "5"}
    for options in (
        {"secret": make_secret()},
        {"seconds": -310},
        {"seconds": 310},
        {"webhook-timestamp": "soon"},
        {"webhook-id": "msg_2"},
    ):
        answer = report(served, body, **options)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED"), options
    changed = json.dumps({**body, "amount": "500"}).encode()
    headers = signed(json.dumps(body).encode())
    assert httpx.post(f"{served.url}{PATH}", content=changed, headers=headers).status_code == 401
    assert httpx.post(f"{served.url}{PATH}", json=body).status_code == 401
    client = {"Authorization": f"Bearer {served.client_key}"}
    assert httpx.post(f"{served.url}{PATH}", json=body, headers=client).status_code == 403
    assert balance(admin, account) == "0"
    assert report(served, body, seconds=-240).status_code == 201
    assert balance(admin, account) == "5"


def test_without_a_secret_no_signature_passes(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        answer = report(served, {"external_id": "tr_5", "account_id": "account_1", "amount": "5"})
        assert answer.status_code == 401
        assert "payouts.http.deposit_secret" in answer.json()["error"]["message"]


def test_the_guides_program_makes_a_deposit(served: Served, admin: httpx.Client, account: str) -> None:
    page = (PROJECT / "docs/how-to/payout-adapters.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("whsec_...", SECRET), names)  # noqa: S102 - the documentation's own program
    answer = names["deposit"](served.url, "tr_6", account, "7")
    assert answer.status_code == 201
    assert balance(admin, account) == "7"
