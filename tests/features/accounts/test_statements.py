"""The statement of a month has the account's own transactions, and nothing that a spreadsheet runs."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

import httpx
import pytest

from agent.coordinator.features.accounts import statements
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served

MONTH = f"{datetime.now(UTC):%Y-%m}"


def rows(client: httpx.Client, month: str = MONTH) -> list[dict[str, str]]:
    answer = client.get("/v1/wallet/statement", params={"month": month}).raise_for_status()
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="statement-{month}.csv"' in answer.headers["content-disposition"]
    return list(csv.DictReader(answer.text.splitlines()))


def test_a_month_has_its_transactions_over_pages(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "PAGE", 2)
    job_ids = [submit(client) for _ in range(4)]
    assert miner.complete(miner.poll()[0], {"text": "hello", "units": 100}).is_success
    own = rows(client)
    listed = client.get("/v1/wallet/transactions").json()["transactions"]
    assert [row["transaction_id"] for row in own] == [each["transaction_id"] for each in listed]
    assert [row["job_id"] for row in own[:4]] == job_ids[::-1]
    assert {row["status"] for row in own[:4]} == {"pending", "settled"}
    assert [row["amount"] for row in own] == [each["amount"] for each in listed]


def test_other_months_and_accounts_are_left_out(client: httpx.Client, served: Served) -> None:
    submit(client)
    assert rows(client, "2000-01") == rows(client, "2999-12") == []
    with httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}) as other:
        assert [row["type"] for row in rows(other)] == ["credit"]


def test_attack_a_name_is_no_formula(client: httpx.Client) -> None:
    submit(client, name="=HYPERLINK(1)")
    assert rows(client)[0]["job_name"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize("month", ["2026-13", "2026", "9999-12", "x"])
def test_a_month_is_a_year_and_a_month(client: httpx.Client, month: str) -> None:
    assert client.get("/v1/wallet/statement", params={"month": month}).status_code == 422
