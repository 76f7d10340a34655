"""The coordinator's answers to owners of miners and to administrators, as records (see `aitbc.models`)."""

from __future__ import annotations

from typing import Any

from aitbc.models import Record


class MinerGpu(Record):
    """A GPU as its miner last told it: bytes, percent, degrees Celsius, watts; None where that is not known.

    `paused` is why it takes no work.
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
    """A service that a miner offers: models on its disk, those in memory, those that it does not take at present."""

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
    """What an owner wants of a miner: `pause`, `resume`, `fetch_model` or `remove_model`. It is sent until the miner executes."""

    command_id: str
    command: str
    created_at: str
    gpu: str | None = None
    seconds: float | None = None
    model: str | None = None


class MinerDetails(Record):
    """A miner as its owner and administrators see it.

    `paused` is why it takes no work at all, `unavailable` says for each service that it does not offer why. `idle` is where its
    last hour went: each a `reason` and the `share`, which sum to 1. `downloads` are models on their way (`model`, `done`, `total`).
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
    paused: str | None = None
    cpu_cores: int | None = None
    memory: int | None = None
    disk_free: int | None = None
    sandbox: str | None = None


class MinerList(Record):
    """One page of miners, the newest first; `total` counts all."""

    miners: list[MinerDetails]
    total: int
    limit: int | None = None
    offset: int | None = None


class DayEarnings(Record):
    """What a miner earned on one day (UTC): a decimal string, and for how many jobs."""

    date: str
    amount: str
    jobs: int


class MinerEarnings(Record):
    """What a miner earned on each of the last days, the newest last."""

    miner_id: str
    days: list[DayEarnings]
    total: str


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
    """A key just made, with its secret, which is shown this once."""

    key: str


class LoginKey(Record):
    """A key that a one-time token was exchanged for, with its secret."""

    role: str
    key: str
    key_id: str


class NewLogin(Record):
    """A one-time token, and the path of the dashboard that uses it."""

    token: str
    path: str
    expires_at: str


class Account(Record):
    """Who owns jobs, files and money."""

    account_id: str
    name: str
    balance: str | None = None
    held: str | None = None
    created_at: str | None = None


class AccountList(Record):
    """Accounts, oldest first. Where there are more, `next` is what to ask for them with."""

    accounts: list[Account]
    next: str | None = None


class Credited(Record):
    """A credit, and what the account can spend now."""

    transaction_id: str
    account_id: str
    amount: str
    balance: str
    created_at: str


class Enrolment(Record):
    """A token with which miners may join, shown this once."""

    enrolment_token: str
    uses: int
    expires_at: str


class Exclusion(Record):
    """A miner that was excluded, and how many jobs were taken from it."""

    miner_id: str
    excluded_at: str
    requeued_jobs: int


class Overview(Record):
    """How many jobs are in each state, all miners in a few words, and what the database has written."""

    jobs: dict[str, int]
    miners: list[Record]
    database: Record
