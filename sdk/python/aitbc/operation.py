"""The coordinator's responses to miners' owners and administrators, as records (see `aitbc.models`)."""

from __future__ import annotations

from typing import Any

from aitbc.models import Reason, Record


class MinerGpu(Record):
    """A GPU as its miner last reported it, in bytes, percent, degrees Celsius and watts. An unknown value is None.

    `paused` is the reason if it accepts no jobs.
    """

    uuid: str
    index: int | None = None
    name: str | None = None
    driver: str | None = None
    compute_capability: str | None = None
    memory_total: int | None = None
    memory_free: int | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    paused: str | None = None


class MinerService(Record):
    """A service that a miner offers, with the models on its disk, those in memory, and those that are currently unavailable."""

    service_id: str
    models: list[str]
    loaded: list[str]
    unavailable_models: list[str]
    unit_price: str
    unit: str | None = None
    concurrency: int | None = None
    downloadable: bool | None = None
    score: dict[str, Any] | None = None


class MinerJob(Record):
    """A job that runs on a miner."""

    job_id: str
    service_id: str
    progress: float
    started_at: str | None = None


class MinerCommand(Record):
    """A command to a miner: `pause`, `resume`, `fetch_model`, `remove_model` or `change_settings`. It is sent until the miner has executed it."""

    command_id: str
    command: str
    created_at: str
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None


class ChangedSetting(Record):
    """A setting that a command changes, as written in the settings file. None stands for the default."""

    setting: str
    before: str | None = None
    after: str | None = None


class GivenCommand(MinerCommand):
    """A command of a miner's history. `executed_at` is None while it waits; `refusal` has the reasons if the miner refused it."""

    given_by: str
    changes: list[ChangedSetting]
    executed_at: str | None = None
    refusal: list[str]


class ServicePrice(Record):
    """The price of a unit of a service: the current one, the setting, and the default, which applies without a setting."""

    service_id: str
    unit: str | None = None
    unit_price: str
    setting: str | None = None
    default: str


class ServiceEngines(Record):
    """The engines that can serve a service, the one in use first. None stands for the agent's own environment."""

    service_id: str
    engines: list[str | None]


class MinerSettings(Record):
    """The settings of a miner that can be changed through the coordinator, and its newest commands.

    `locked` is the reason if none can be changed. `schedule` are the times of the week, by the machine's clock, at which it accepts no jobs.
    """

    miner_id: str
    locked: str | None = None
    prices: list[ServicePrice]
    schedule: list[str]
    engines: list[ServiceEngines]
    preferred_engines: list[str]
    history: list[GivenCommand]


class WaitingKind(Record):
    """Waiting jobs of one service and model that a miner does not get for the same reasons. Without any, it gets them next."""

    service_id: str
    model: str | None = None
    jobs: int
    reasons: list[Reason]


class MinerExplanation(Record):
    """Why a miner does not get the jobs that wait, by kind of job."""

    miner_id: str
    summary: str
    waiting_jobs: int
    kinds: list[WaitingKind]


class MinerDetails(Record):
    """A miner as its owner and administrators see it.

    `paused` is the reason if it accepts no jobs at all, `version_problem` why its version does not fit. `unavailable` has the reasons for each service that it does not offer. `idle`
    breaks down its last hour: each entry has a `reason` and a `share`, and the shares sum to 1. `downloads` are the models that it is
    downloading (`model`, `done`, `total`).
    """

    miner_id: str
    name: str
    online: bool
    seen_at: str
    registered_at: str
    session: int
    slots: int
    gpus: list[MinerGpu]
    services: list[MinerService]
    unavailable: dict[str, list[str]]
    idle: list[Record]
    downloads: list[Record]
    jobs: list[MinerJob]
    commands: list[MinerCommand]
    total_earned: str
    reputation: float | None = None
    agent_version: str | None = None
    version_problem: str | None = None
    paused: str | None = None
    cpu_cores: int | None = None
    memory: int | None = None
    disk_free: int | None = None
    sandbox: str | None = None


class MinerList(Record):
    """One page of miners, newest first. `total` is the number of all miners."""

    miners: list[MinerDetails]
    total: int
    limit: int | None = None
    offset: int | None = None


class DayEarnings(Record):
    """A miner's earnings on one day (UTC), as a decimal string, and the number of jobs."""

    date: str
    amount: str
    jobs: int


class MinerEarnings(Record):
    """A miner's earnings on each of the last days, newest last."""

    miner_id: str
    days: list[DayEarnings]
    total: str


class FleetMiner(Record):
    """One machine of a fleet. `paused` is the reason for accepting no jobs, `gpus` are the names of its GPUs."""

    miner_id: str
    name: str
    online: bool
    gpus: list[str]
    slots: int
    running: int
    earned_today: str
    total_earned: str
    paused: str | None = None


class MinerFleet(Record):
    """All machines of one owner, with their sums, and their earnings together on each of the last days, newest last."""

    online: int
    gpus: int
    slots: int
    running: int
    days: list[DayEarnings]
    earned_today: str
    total_earned: str
    miners: list[FleetMiner]
    owner: str | None = None


class Key(Record):
    """A key without its secret. `role` is `client`, `miner` or `admin`."""

    key_id: str
    role: str
    name: str
    created_at: str
    account_id: str | None = None
    miner_id: str | None = None
    revoked_at: str | None = None


class NewKey(Key):
    """A new key with its secret, which is shown only once."""

    key: str


class LoginKey(Record):
    """A key that was obtained for a one-time token, with its secret."""

    role: str
    key: str
    key_id: str


class NewLogin(Record):
    """A one-time login token, and the dashboard's path that uses it."""

    token: str
    path: str
    expires_at: str


class Account(Record):
    """An account, which owns jobs, files and money."""

    account_id: str
    name: str
    balance: str | None = None
    held: str | None = None
    created_at: str | None = None
    slowed_until: str | None = None


class AccountList(Record):
    """Accounts, oldest first. If there are more, `next` is the cursor of the next page."""

    accounts: list[Account]
    next: str | None = None


class Booked(Record):
    """A credit or a debit, and the account's new balance."""

    transaction_id: str
    account_id: str
    amount: str
    balance: str
    created_at: str


class NewEnrolment(Record):
    """A token with which miners may join. It is shown only once."""

    enrolment_id: str
    enrolment_token: str
    uses: int
    expires_at: str


class EnrolledMiner(Record):
    """A miner that has enrolled with a token."""

    miner_id: str
    name: str


class Enrolment(Record):
    """A token without its secret. `status` is `valid`, `used`, `expired` or `revoked`; `miners` have enrolled with it."""

    enrolment_id: str
    status: str
    note: str
    uses: int
    uses_left: int
    created_at: str
    expires_at: str
    miners: list[EnrolledMiner]
    created_by: str | None = None
    created_by_name: str | None = None
    used_at: str | None = None
    revoked_at: str | None = None


class EnrolmentList(Record):
    """Tokens, newest first. If there are more, `next` is the cursor of the next page."""

    enrolments: list[Enrolment]
    next: str | None = None


class Exclusion(Record):
    """An excluded miner, and the number of its jobs that were requeued."""

    miner_id: str
    excluded_at: str
    requeued_jobs: int


class Removal(Record):
    """A removed miner, and the numbers of its jobs that were requeued and of its offers that ended."""

    miner_id: str
    removed_at: str
    requeued_jobs: int
    ended_offers: int


class HistoryPoint(Record):
    """The figures of the interval that begins at `time`, by name: numbers, or money as decimal strings."""

    time: str
    figures: dict[str, Any]


class History(Record):
    """Figures over time, oldest first, with a point every `interval_seconds`."""

    metric: str
    period: str
    interval_seconds: int
    points: list[HistoryPoint]


class Overview(Record):
    """The number of jobs in each state, a summary of all miners, the database's statistics, and the replicas, one of which leads."""

    jobs: dict[str, int]
    miners: list[Record]
    database: Record
    replicas: tuple[Record, ...] = ()
