"""Jobs, money, the queue and miners over time, and who may see them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from agent.coordinator.features.history import store
from agent.coordinator.features.history.series import delete_old, sample
from agent.coordinator.operations.context import Context
from agent.coordinator.store.database import Connection
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served

RESULTS = {"text": "hello", "units": 100}
INTERVALS = {"hour": 12, "day": 48, "week": 56, "month": 60, "year": 52}


def series(admin: httpx.Client, metric: str, period: str = "hour") -> dict[str, Any]:
    query = {"metric": metric, "period": period}
    answer: dict[str, Any] = admin.get("/v1/admin/history", params=query).raise_for_status().json()
    return answer


def total(answer: dict[str, Any]) -> dict[str, Decimal]:
    names = answer["points"][0]["figures"]
    return {
        name: sum((Decimal(point["figures"][name] or 0) for point in answer["points"]), Decimal(0))
        for name in names
    }


def test_jobs_and_money_are_counted_as_they_happen(
    client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    before = total(series(admin, "money"))
    submit(client)
    assert miner.complete(miner.poll()[0], RESULTS).status_code == 200
    submit(client)
    failure = {"kind": "fail", "code": "BAD_AUDIO", "message": "This is no audio."}
    miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
    client.delete(f"/v1/jobs/{submit(client)}").raise_for_status()
    submit(client)
    assert total(series(admin, "jobs")) == {"submitted": 4, "completed": 1, "failed": 1, "cancelled": 1}
    account_id = client.get("/v1/wallet").json()["account_id"]
    admin.post(f"/v1/admin/accounts/{account_id}/debits", json={"amount": "2"}).raise_for_status()
    paid = Decimal(client.get("/v1/marketplace/stats").json()["total_volume"])
    after = total(series(admin, "money"))
    assert {name: after[name] - before[name] for name in after} == {
        "credited": 0,
        "debited": 2,
        "paid": paid,
        "fees": 0,
    }
    assert paid > 0
    assert before["credited"] == 2_000_000


def test_the_queue_and_the_miners_are_sampled(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    submit(client)
    submit(client)
    miner.poll()
    served.do(sample)
    assert series(admin, "queue")["points"][-1]["figures"] == {"waiting": 1, "running": 1}
    assert series(admin, "miners")["points"][-1]["figures"] == {"online": 1}
    assert series(admin, "queue")["points"][0]["figures"] == {"waiting": None, "running": None}


@pytest.mark.parametrize("period", INTERVALS)
def test_each_period_has_its_intervals_until_now(served: Served, admin: httpx.Client, period: str) -> None:
    """Counts of an interval are summed and samples averaged, and what is older than the period is not shown."""

    def fill(connection: Connection) -> None:
        now = served.context.clock()
        for ago in (0, store.BUCKET_SECONDS, 400 * 86_400):
            store.add(connection, now - ago, completed=2)
            store.sample(connection, now - ago, waiting=ago // 100, running=0, online=1)

    served.do(lambda context: context.database.write(fill))
    answer = series(admin, "jobs", period)
    assert (answer["metric"], answer["period"], len(answer["points"])) == (
        "jobs",
        period,
        INTERVALS[period],
    )
    times = [point["time"] for point in answer["points"]]
    assert times == sorted(set(times))
    assert total(answer)["completed"] == 4
    waiting = [point["figures"]["waiting"] for point in series(admin, "queue", period)["points"]]
    assert [value for value in waiting if value is not None] in ([1.5], [3.0, 0.0])


def test_unknown_metrics_and_periods_are_refused(admin: httpx.Client) -> None:
    for query in ("metric=weather", "period=century"):
        refused = admin.get(f"/v1/admin/history?{query}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "VALIDATION_ERROR")


OPERATORS_CALLS = (
    ("GET", "/v1/admin/enrolments"),
    ("POST", "/v1/admin/enrolments"),
    ("DELETE", "/v1/admin/enrolments/enrolment_1"),
    ("DELETE", "/v1/admin/miners/miner_1"),
    ("POST", "/v1/admin/accounts/account_1/debits"),
    ("GET", "/v1/admin/history"),
    ("GET", "/v1/admin/overview"),
)


@pytest.mark.parametrize(("method", "path"), OPERATORS_CALLS)
def test_only_administrators_may_call(
    served: Served, client: httpx.Client, miner: ScriptedMiner, method: str, path: str
) -> None:
    """A client's key and an owner's key get 403, and no key gets 401."""
    assert client.request(method, path).json()["error"]["code"] == "FORBIDDEN"
    owner = {"X-API-Key": miner.registration["api_key"]}
    answer = httpx.request(method, served.url + path, headers=owner)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert httpx.request(method, served.url + path).status_code == 401


def test_an_administrator_lists_the_jobs_of_all_accounts_or_of_one(
    served: Served, client: httpx.Client, admin: httpx.Client
) -> None:
    own = client.get("/v1/wallet").json()["account_id"]
    headers = {"X-API-Key": served.other_key}
    with httpx.Client(base_url=served.url, headers=headers, timeout=120) as other:
        theirs = other.get("/v1/wallet").json()["account_id"]
        first, second = submit(client), submit(other)
        listed = admin.get("/v1/jobs").json()["jobs"]
        assert {item["job_id"]: item["account_id"] for item in listed} == {first: own, second: theirs}
        page = admin.get(f"/v1/jobs?account_id={theirs}").json()
        assert ([item["job_id"] for item in page["jobs"]], page["total"]) == ([second], 1)
        refused = client.get(f"/v1/jobs?account_id={theirs}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
        assert client.get(f"/v1/jobs?account_id={own}").json()["total"] == 1


def test_an_account_whose_jobs_fail_too_often_sees_until_when_it_is_slowed(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    assert "slowed_until" not in client.get("/v1/wallet").json()
    failure = {"kind": "fail", "code": "BAD_AUDIO", "message": "This is no audio."}
    for _ in range(int(served.context.settings.client_failures_tolerated) + 1):
        submit(client)
        miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
    wallet = client.get("/v1/wallet").json()
    accounts = admin.get("/v1/admin/accounts").json()["accounts"]
    slowed = {item["account_id"]: item.get("slowed_until") for item in accounts}
    assert slowed.pop(wallet["account_id"]) == wallet["slowed_until"]
    assert set(slowed.values()) == {None}


def test_figures_that_no_chart_shows_are_deleted(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PRUNED_AT_ONCE", 2)

    async def starts(context: Context) -> list[int]:
        now = context.clock()
        for day in (0, 300, 367, 400, 500):
            await context.database.write(store.add, now - day * 86_400, submitted=1)
        await delete_old(context)
        rows = await context.database.read(store.series, ("submitted",), since=0, interval=86_400)
        return [round((now - row[0]) / 86_400) for row in rows]

    assert [day for day in served.do(starts) if day > 1] in ([300], [301])
