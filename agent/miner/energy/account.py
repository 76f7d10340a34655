"""The account of a machine's work: what each job consumed and earned, by job, day and month, and which models are not worth it.

The daemon runs `run`. Runs report their devices and their end; the rest happens here, beside them, so that no result waits for it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog

from agent.core.errors import ConfigurationError
from agent.core.values.quantities import format_money
from agent.miner.backoff import sleep
from agent.miner.energy.history import History, JobRecord, Period, Spent
from agent.miner.energy.meter import RAPL, EnergyMeter, FixedPower, Interval, Usage
from agent.miner.energy.profit import FIRST, JOULES, Terms
from agent.miner.energy.shares import JobKey
from agent.miner.energy.tariff import Tariff
from agent.miner.machine.gpus import GpuReadings
from agent.miner.session import Session
from agent.miner.settings import EnergySettings

FILE_NAME: Final = "energy.db"
READ_SECONDS: Final = 5.0
"""How often the counters are read while nothing happens."""
SHORTEST_SECONDS: Final = 0.2
"""Least time between two readings. Jobs that begin and end within it share it by their times."""
SAVE_SECONDS: Final = 60.0
"""How often consumption without ended jobs is written to the disk."""
SHOWN_JOBS: Final = 10

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended. `units` and `price`, which the client pays, are zero without a result.

    `model` is "" for services without models, and None for a job that names none.
    """

    job: JobKey
    service: str
    model: str | None
    device: str
    outcome: str
    units: Decimal = Decimal(0)
    price: Decimal = Decimal(0)


_Sums: TypeAlias = tuple[Period | None, Period | None, list[JobRecord]]


class EnergyAccount:
    """Call `open` before work begins. `rapl` is as of the meter. `unit_price` returns the current price of an offered service, None for another one."""

    def __init__(
        self,
        directory: Path,
        settings: EnergySettings,
        gpus: GpuReadings,
        session: Session,
        unit_price: Callable[[str], str | None],
        on_change: Callable[[], None],
        rapl: Path | None = RAPL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._session = session
        self._unit_price = unit_price
        self._on_change = on_change
        self._meter = EnergyMeter(
            gpus, FixedPower(settings.processor_watts, settings.rest_watts), rapl, clock
        )
        self._history = History(directory / FILE_NAME, settings.history_jobs)
        self._tariff = Tariff(settings, None, self._priced)
        self._usages: dict[JobKey, Usage] = {}
        self._costs: dict[JobKey, float | None] = {}
        self._ended: list[EndedRun] = []
        self._unsaved: dict[tuple[str, str], Spent] = {}
        self._earned: dict[str, float] = {}
        self._price_to_save: float | None = None
        self._saved_at = 0.0
        self._due = asyncio.Event()
        self._step: asyncio.Task[None] | None = None
        self._today: Period | None = None
        self._month: Period | None = None
        self._jobs: list[JobRecord] = []
        self._refused: dict[tuple[str, str], str] = {}

    async def open(self) -> None:
        """Open the history, and read the counters for the first time. Raises `ConfigurationError` if there cannot be one."""
        try:
            await asyncio.to_thread(self._history.open)
        except ConfigurationError as error:
            # A machine should not stand still for the sake of its figures.
            _log.error("energy_history_unreadable", error=str(error))
            await asyncio.to_thread(self._history.begin_again)
        self._consumption = self._history.consumption()
        if self._settings.price_url is not None:
            self._tariff = Tariff(self._settings, self._history.price(self._settings.price_url), self._priced)
        self._today, self._month, self._jobs = self._sums()
        await self._meter.read()
        self._judge()

    async def close(self) -> None:
        """Save what was consumed until now."""
        if self._step is not None:
            await asyncio.wait([self._step])
        await self._account()
        await self._save()
        await asyncio.to_thread(self._history.close)

    # Called by runs ---------------------------------------------------------------------------------------------------

    def began(self, job: JobKey, devices: tuple[str, ...]) -> None:
        """Note that a job has these devices from now on."""
        self._meter.begin(job, devices)
        self._due.set()

    def ended(self, run: EndedRun) -> None:
        """Note that a run has ended."""
        self._meter.end(run.job)
        self._ended.append(run)
        self._due.set()

    def earned(self, amounts: Iterable[tuple[str, str]]) -> None:
        """Note what the coordinator states about days: dates with amounts."""
        self._earned.update({date: float(amount) for date, amount in amounts})
        self._due.set()

    # Measuring --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Measure until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tariff.run(), name="miner-electricity-price")
            group.create_task(self._measure(), name="miner-energy")

    async def _measure(self) -> None:
        while True:
            await sleep(READ_SECONDS, self._due)
            self._due.clear()
            # A task of its own: cancelled in between, it would count an interval twice or not at all. `close` waits for it.
            self._step = asyncio.create_task(self._account_and_save(), name="miner-energy-step")
            await asyncio.shield(self._step)
            await asyncio.sleep(SHORTEST_SECONDS)

    async def _account_and_save(self) -> None:
        await self._account()
        jobs_ended = any(spent.jobs for spent in self._unsaved.values())
        if jobs_ended or self._earned or time.monotonic() - self._saved_at >= SAVE_SECONDS:
            await self._save()
        # In the same step in which the jobs are shown, so that nobody sees a job that has not yet been judged.
        self._judge()

    def _priced(self, price: float) -> None:
        self._price_to_save = price
        self._due.set()

    def _price(self) -> float | None:
        return self._tariff.now(datetime.now())  # noqa: DTZ005 - tariffs are in local time

    async def _account(self) -> None:
        """Read the counters, and add what was consumed to the jobs and to the day."""
        # Those that end while the counters are read belong to the next reading.
        ended, self._ended = self._ended, []
        interval, price = await self._meter.read(), self._price()
        for job, usage in interval.jobs.items():
            self._add(job, usage, price)
        now = time.time()
        records = [self._record(run, now) for run in ended]
        key = (f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}", self._session.origin)
        spent = self._unsaved.get(key) or Spent(*key)
        self._unsaved[key] = _plus(spent, interval, price, records)

    def _add(self, job: JobKey, usage: Usage, price: float | None) -> None:
        total = self._usages.setdefault(job, Usage())
        total.joules += usage.joules
        total.seconds += usage.seconds
        total.measured = total.measured and usage.measured
        cost = self._costs.get(job, 0.0)
        self._costs[job] = None if cost is None or price is None else cost + usage.joules / JOULES * price

    def _record(self, run: EndedRun, now: float) -> JobRecord:
        usage = self._usages.pop(run.job, Usage())
        cost = self._costs.pop(run.job, 0.0 if self._price() is not None else None)
        if run.outcome == "completed" and usage.measured and run.model is not None:
            self._learn((run.service, run.model), run, usage, now)
        return JobRecord(
            *run.job,
            ended_at=now,
            service=run.service,
            model=run.model or None,
            device=run.device,
            outcome=run.outcome,
            seconds=usage.seconds,
            joules=usage.joules if usage.measured else None,
            cost=cost if usage.measured else None,
            credits=format_money(run.price * (1 - self._session.fee)),
        )

    def _learn(self, key: tuple[str, str], run: EndedRun, usage: Usage, now: float) -> None:
        former = self._consumption.get(key)
        if former is None or not former.is_current(now):
            former = FIRST
        self._consumption[key] = former.plus(float(run.units), usage.seconds, usage.joules, now)

    async def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        earned, self._earned = self._earned, {}
        price, self._price_to_save = self._price_to_save, None
        self._saved_at = time.monotonic()
        consumption = dict(self._consumption)
        origin = self._session.origin

        def write() -> _Sums:
            for spent in unsaved.values():
                self._history.add(replace(spent, consumption=consumption))
            if earned:
                self._history.set_earned(origin, earned)
            if price is not None and self._settings.price_url is not None:
                self._history.set_price(self._settings.price_url, price)
            return self._sums()

        try:
            self._today, self._month, self._jobs = await asyncio.to_thread(write)
        except (OSError, sqlite3.Error) as error:
            # Figures for the owner only: jobs go on without them.
            _log.error("energy_not_saved", error=str(error))

    def _sums(self) -> _Sums:
        """Return the latest day, the latest month and the latest jobs of the history."""
        today, month = (
            next(iter(periods), None) for periods in (self._history.days(1), self._history.months(1))
        )
        return today, month, self._history.jobs(SHOWN_JOBS)

    # Profit -----------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Decide which models are worth their electricity at the prices of now."""
        refused = {} if (terms := self._terms()) is None else self._refusals(terms)
        # The figures in the words change all the time; the coordinator needs to know only about which.
        changed = refused.keys() != self._refused.keys()
        self._refused = refused
        if changed:
            _log.info("unprofitable_models_changed", models=sorted(map("/".join, refused)))
            self._on_change()

    def _terms(self) -> Terms | None:
        price, minimum = self._price(), self._settings.minimum_profit
        if price is None or minimum is None:
            return None
        return Terms(price / self._settings.credit_value, float(self._session.fee), minimum)

    def _refusals(self, terms: Terms) -> dict[tuple[str, str], str]:
        now = time.time()
        refusals: dict[tuple[str, str], str] = {}
        for (service, model), consumption in self._consumption.items():
            price = self._unit_price(service)
            if price is None or not consumption.is_known(now):
                continue
            refusal = terms.refusal(consumption, Decimal(price))
            if refusal is not None:
                refusals[service, model] = refusal
        return refusals

    def unprofitable_models(self) -> dict[str, dict[str, str]]:
        """Return the models that are not worth their electricity now, by service, and why."""
        models: dict[str, dict[str, str]] = {}
        for (service, model), reason in self._refused.items():
            if model:
                models.setdefault(service, {})[model] = reason
        return models

    def unprofitable_services(self) -> dict[str, str]:
        """Return the services without models that are not worth their electricity now, and why."""
        return {service: reason for (service, model), reason in self._refused.items() if not model}

    # Reports ----------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return the figures for the owner. Amounts are credits, except for the price."""
        return {
            **self._common(),
            "jobs": job_figures(self._jobs, self._settings),
        }

    def report(self, *, own_coordinator: bool) -> dict[str, Any] | None:
        """Return the figures for the coordinator, None if the owner does not want it to have them."""
        wanted = self._settings.report
        return self._common() if (own_coordinator if wanted is None else wanted) else None

    def _common(self) -> dict[str, Any]:
        now = datetime.now(UTC)
        return {
            "price": self._price(),
            "currency": self._settings.currency,
            "problem": self._tariff.problem,
            "today": figures(_current(self._today, f"{now:%Y-%m-%d}"), self._settings),
            "month": figures(_current(self._month, f"{now:%Y-%m}"), self._settings),
            "unprofitable": [
                {"service": service, "model": model or None, "reason": reason}
                for (service, model), reason in self._refused.items()
            ],
        }


def _plus(spent: Spent, interval: Interval, price: float | None, jobs: Collection[JobRecord]) -> Spent:
    """Return the consumption of a day with one more interval."""
    joules = sum(usage.joules for usage in interval.jobs.values())
    known = price is not None
    return replace(
        spent,
        joules=spent.joules + joules,
        cost=spent.cost + joules / JOULES * (price or 0.0),
        idle_joules=spent.idle_joules + interval.idle,
        idle_cost=spent.idle_cost + interval.idle / JOULES * (price or 0.0),
        unpriced=spent.unpriced + (0.0 if known else joules),
        jobs=(*spent.jobs, *jobs),
    )


def _current(period: Period | None, name: str) -> Period:
    return period if period is not None and period.name == name else Period(name)


def figures(period: Period, settings: EnergySettings) -> dict[str, Any]:
    """Return a period for people and programs: kilowatt-hours, and credits as decimal strings.

    `electricity` and `net` are None if the price of all of its electricity is unknown.
    """
    cost = period.cost + (period.idle_cost if settings.idle_costs else 0.0)
    is_priced = not period.unpriced or bool(period.cost)
    electricity = cost / settings.credit_value if is_priced else None
    return {
        "period": period.name,
        "jobs": period.jobs,
        "kwh": round(period.joules / JOULES, 6),
        "idle_kwh": round(period.idle_joules / JOULES, 6),
        "unpriced_kwh": round(period.unpriced / JOULES, 6),
        "unmeasured": period.unmeasured,
        "earned": _amount(period.credits),
        "electricity": None if electricity is None else _amount(electricity),
        "net": None if electricity is None else _amount(period.credits - electricity),
    }


def job_figures(jobs: Collection[JobRecord], settings: EnergySettings) -> list[dict[str, Any]]:
    """Return jobs in the same way, the newest first."""
    rows = []
    for job in jobs:
        electricity = None if job.cost is None else job.cost / settings.credit_value
        rows.append(
            {
                **{
                    name: value
                    for name, value in asdict(job).items()
                    if name not in {"joules", "cost", "credits"}
                },
                "kwh": None if job.joules is None else round(job.joules / JOULES, 9),
                "earned": job.credits,
                "electricity": None if electricity is None else _amount(electricity),
                "net": None if electricity is None else _amount(float(job.credits) - electricity),
            }
        )
    return rows


def _amount(value: float) -> str:
    """Return credits, which may be negative, as a decimal string."""
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
