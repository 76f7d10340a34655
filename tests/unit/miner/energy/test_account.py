"""What a machine earns after electricity: by job, day and month, over restarts; and which models are not worth it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.core.errors import ConfigurationError
from agent.miner.energy import account as account_module
from agent.miner.energy.account import EndedRun, EnergyAccount
from agent.miner.energy.history import History, JobRecord, Spent
from agent.miner.energy.profit import LEAST_JOBS, VALID_SECONDS, Consumption, Terms
from agent.miner.machine.gpu_power import CardPower
from agent.miner.settings import EnergySettings
from miner_support.daemons import until

pytestmark = pytest.mark.anyio

KWH = 3_600_000.0


class Card:
    """A card whose counter a test sets, with a clock that runs only while it computes."""

    joules = 0.0
    now = 1000.0

    def energy(self) -> Mapping[str, CardPower]:
        return {"GPU-1": CardPower("0", self.joules, None)}


def session(**changes: Any) -> Any:
    return SimpleNamespace(**{"origin": "log.example.org", "fee": Decimal(0), **changes})


async def opened(
    tmp_path: Path, card: Card, changed: list[None] | None = None, **settings: Any
) -> EnergyAccount:
    """An account of a machine that offers `cards` at 2 credits a unit, after a fee of a tenth."""
    account = EnergyAccount(
        tmp_path,
        EnergySettings.model_validate(settings),
        card,  # type: ignore[arg-type]  # only its counters are read
        session(fee=Decimal("0.1")),
        unit_price={"cards": "2"}.get,
        on_change=lambda: None if changed is None else changed.append(None),
        clock=lambda: card.now,
    )
    await account.open()
    return account


async def work(
    account: EnergyAccount, card: Card, number: int, kwh: float, units: str, model: str | None = "small"
) -> None:
    """Run a job that consumes so much."""
    job = (f"job_{number}", 1)
    account.began(job, ("GPU-1",))
    card.now += 10
    card.joules += kwh * KWH
    account.ended(EndedRun(job, "cards", model, "GPU-1", "completed", Decimal(units), Decimal(units) * 2))
    task = asyncio.create_task(account.run())
    await until(lambda: any(record["job_id"] == job[0] for record in account.status()["jobs"]))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_net_earnings_by_job_day_and_month_survive_a_restart(tmp_path: Path) -> None:
    """A credit is worth 2 EUR. What the coordinator states about a day takes precedence over the prices of the jobs."""
    card = Card()
    settings = {"price": 0.4, "currency": "EUR", "credit_value": 2}
    account = await opened(tmp_path, card, **settings)
    await work(account, card, 1, kwh=10, units="3")
    job = account.status()["jobs"][0]
    # 3 units at 2 credits, less a tenth; 10 kWh at 0.4 EUR are 4 EUR, so 2 credits.
    assert (job["earned"], job["net"]) == ("5.4", "3.4")
    assert job["kwh"] == pytest.approx(10)
    await account.close()
    account = await opened(tmp_path, card, **settings)
    await work(account, card, 2, kwh=1, units="1")
    status = account.status()
    today = status["today"]
    assert (today["jobs"], today["earned"]) == (2, "7.2")
    assert today["kwh"] == pytest.approx(11)
    assert float(today["net"]) == pytest.approx(7.2 - 2.2)
    assert (status["month"]["net"], status["price"], status["currency"]) == (today["net"], 0.4, "EUR")
    account.earned([(today["period"], "6")])
    await account.close()
    account = await opened(tmp_path, card, **settings)
    assert float(account.status()["today"]["net"]) == pytest.approx(6 - 2.2)
    await account.close()


async def test_consumption_without_a_price_is_reported_as_such(tmp_path: Path) -> None:
    """A job's figure is measured nevertheless, and nothing pretends that electricity were free."""
    card = Card()
    account = await opened(tmp_path, card, minimum_profit="1000")
    await work(account, card, 1, kwh=2, units="3")
    status = account.status()
    assert (status["today"]["electricity"], status["today"]["net"], status["jobs"][0]["net"]) == (
        None,
        None,
        None,
    )
    assert status["today"]["unpriced_kwh"] == pytest.approx(2)
    assert status["unprofitable"] == []
    assert account.report(own_coordinator=False) is None
    assert account.report(own_coordinator=True) is not None
    await account.close()


async def test_a_model_that_is_not_worth_its_electricity_is_refused_until_prices_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known after three jobs. Another model of the same service is not concerned, and the decision survives a restart."""
    monkeypatch.setattr(account_module, "SHORTEST_SECONDS", 0.0)
    card, changed = Card(), list[None]()
    account = await opened(tmp_path, card, changed, price=0.5, minimum_profit="0")
    for number in range(LEAST_JOBS):
        assert account.unprofitable_models() == {}
        await work(account, card, number, kwh=10, units="1")
        await work(account, card, 100 + number, kwh=0.1, units="1", model="other")
    models = account.unprofitable_models()
    assert list(models) == ["cards"]
    assert list(models["cards"]) == ["small"]
    assert "costs" in models["cards"]["small"]
    assert changed == [None]
    await account.close()
    account = await opened(tmp_path, card, price=0.5, minimum_profit="0")
    assert list(account.unprofitable_models()["cards"]) == ["small"]
    await account.close()
    for cheaper in ({"price": 0.1, "minimum_profit": "0"}, {"price": 0.5}):
        account = await opened(tmp_path, card, **cheaper)
        assert account.unprofitable_models() == {}
        await account.close()


def test_the_refusal_follows_from_an_hours_figures() -> None:
    """An hour of 1 kWh at 0.5 credits, which earns 4 units less a tenth."""
    consumption = Consumption(LEAST_JOBS, units=4, seconds=3600, joules=KWH, measured_at=0)
    terms = Terms(electricity=0.5, fee=0.1, minimum=Decimal("3.1"))
    assert terms.refusal(consumption, Decimal(1)) is None
    reason = Terms(0.5, 0.1, Decimal("3.2")).refusal(consumption, Decimal(1))
    assert reason == (
        "An hour of it earns 3.6 credits and costs 0.5 credits of electricity now; miner.energy.minimum_profit is 3.2."
    )
    assert not consumption.is_known(VALID_SECONDS)
    assert consumption.is_known(VALID_SECONDS - 1)


def test_only_the_latest_jobs_are_stored_and_months_are_summed_up(tmp_path: Path) -> None:
    history = History(tmp_path / "energy.db", max_jobs=2)
    history.open()
    for number, date in enumerate(("2026-10-31", "2026-11-01", "2026-11-30")):
        record = JobRecord(f"job_{number}", 1, number, "s", None, "cpu", "completed", 1.0, 2.0, 0.5, "1.5")
        history.add(Spent(date, "log", joules=2.0, cost=0.5, jobs=[record]))
        history.add(Spent(date, "another log", idle_joules=1.0))
    assert [job.job_id for job in history.jobs(10)] == ["job_2", "job_1"]
    assert [(month.name, month.jobs, month.joules, month.idle_joules, month.credits) for month in history.months(10)] == [
        ("2026-11", 2, 4.0, 2.0, 3.0), ("2026-10", 1, 2.0, 1.0, 1.5),
    ]  # fmt: skip
    assert (tmp_path / "energy.db").stat().st_mode & 0o777 == 0o600
    history.close()


async def test_a_damaged_history_says_what_to_do_and_stops_no_miner(tmp_path: Path) -> None:
    """The damaged file stays beside the new one."""
    (tmp_path / "energy.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigurationError, match="move it away"):
        History(tmp_path / "energy.db", 1).open()
    card = Card()
    account = await opened(tmp_path, card)
    await work(account, card, 1, kwh=1, units="1")
    assert account.status()["today"]["jobs"] == 1
    await account.close()
    assert (tmp_path / "energy.db.damaged").read_bytes().startswith(b"no database")


async def test_a_service_without_models_is_refused_as_a_whole(tmp_path: Path) -> None:
    """A job of another service that names no model teaches nothing about all of its models."""
    card = Card()
    account = await opened(tmp_path, card, price=0.5, minimum_profit="0")
    for number in range(LEAST_JOBS):
        await work(account, card, number, kwh=10, units="1", model=None)
    assert account.unprofitable_services() == {}
    for number in range(LEAST_JOBS):
        await work(account, card, 100 + number, kwh=10, units="1", model="")
    assert list(account.unprofitable_services()) == ["cards"]
    assert account.unprofitable_models() == {}
    assert account.status()["unprofitable"][0]["model"] is None
    await account.close()


@pytest.mark.parametrize("method", ["add", "days"])
async def test_a_disk_that_refuses_costs_figures_and_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """While figures are written, and while the sums are read."""

    def fail(*_: Any) -> None:
        raise OSError("disk full") if method == "add" else sqlite3.OperationalError("disk I/O error")

    card = Card()
    account = await opened(tmp_path, card)
    monkeypatch.setattr(History, method, fail)
    job = ("job_1", 1)
    account.began(job, ("GPU-1",))
    account.ended(EndedRun(job, "cards", "small", "GPU-1", "completed"))
    with capture_logs() as events:
        task = asyncio.create_task(account.run())
        await until(lambda: any(event["event"] == "energy_not_saved" for event in events))
        assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await account.close()
