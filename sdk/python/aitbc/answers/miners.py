"""Answers about miners, for their owners, for operators, and for everybody."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.jobs import JobState, Reason
from aitbc.answers.record import AnswerPart, Record
from aitbc.answers.registry import SaleUnitsField

CommandName = Literal["pause", "resume", "fetch_model", "remove_model", "change_settings"]


def _require_all(schema: dict[str, Any]) -> None:
    schema["required"] = list(schema["properties"])


ALWAYS_PRESENT = ConfigDict(json_schema_extra=_require_all)
"""Configuration of answers whose fields are null, rather than left out, if they do not apply."""


class ServiceScore(AnswerPart):
    """The miner's score in its own benchmark."""

    model_config = ALWAYS_PRESENT

    metric: str = Field(examples=["audio second/s"])
    value: float = Field(examples=[41.7])
    device: str | None = Field(default=None, examples=["NVIDIA GeForce RTX 4090"])


class QueuedCommand(Record):
    """A command that is sent to the miner until it has executed it."""

    command_id: fields.CommandId
    command: CommandName
    created_at: fields.Time


class Exclusion(Record):
    """An excluded miner, and the number of its jobs that were queued again."""

    miner_id: fields.MinerId
    excluded_at: fields.Time
    requeued_jobs: int = Field(examples=[2])


class PlainRemoval(Record):
    """A removed miner, and the number of its jobs that were queued again."""

    miner_id: fields.MinerId
    removed_at: fields.Time
    requeued_jobs: int = Field(examples=[2])


class RemovedOffers(Record):
    """The number of a removed miner's offers that ended."""

    ended_offers: int = Field(examples=[5])


class Removal(RemovedOffers, PlainRemoval):
    """A removed miner, and the numbers of its jobs that were queued again and of its offers that ended."""

    needs = ("miner_id",)


class Inclusion(Record):
    """A miner that may register again."""

    miner_id: fields.MinerId


THROTTLED = "Until then the miner gets no jobs, because it has handed back too many"


class MinerGpu(Record):
    """A GPU. Memory is in bytes, utilization in percent, temperature in degrees Celsius, power in watts; null if unknown.

    `paused` is the reason for which it accepts no jobs.
    """

    uuid: str = Field(examples=["GPU-8a56a4bc"])
    index: int = Field(examples=[0])
    name: str = Field(examples=["NVIDIA GeForce RTX 4090"])
    driver: str | None = Field(examples=["570.86"])
    compute_capability: str | None = Field(examples=["8.9"])
    memory_total: int | None = Field(examples=[25757220864])
    memory_free: int | None = Field(examples=[25000000000])
    utilization: float | None = Field(examples=[3])
    temperature: float | None = Field(examples=[41])
    power: float | None = Field(examples=[60.5])
    power_limit: float | None = Field(examples=[450])
    paused: str | None = Field(examples=[None])


class GpuSample(Record):
    """What a miner reported about a GPU: memory in bytes, utilization in percent, temperature in degrees Celsius, power in watts; null if unknown."""

    uuid: str = Field(examples=["GPU-8a56a4bc"])
    utilization: float | None = Field(examples=[97])
    memory_free: int | None = Field(examples=[6442450944])
    temperature: float | None = Field(examples=[71])
    power: float | None = Field(examples=[310.5])


class GpuSamples(Record):
    """A miner's GPUs at the beginning of an interval."""

    time: fields.Time
    gpus: list[GpuSample]


class MinerGpuHistory(Record):
    """A miner's GPUs in the last 24 hours, oldest first, at most once in `interval_seconds`. There are none of times at which it was offline."""

    miner_id: fields.MinerId
    interval_seconds: int = Field(examples=[300])
    samples: list[GpuSamples]


class MinerService(Record):
    """A service that the miner offers, with the models on its disk, those that are loaded, and those that are unavailable."""

    service_id: fields.ServiceId
    models: list[str] = Field(examples=[["tiny.en"]])
    loaded: list[str] = Field(examples=[["tiny.en"]])
    unavailable_models: list[str] = Field(examples=[[]])
    unit_price: fields.Amount
    unit: str | None = Field(examples=["token"])
    sale_units: SaleUnitsField
    concurrency: int = Field(examples=[1])
    downloadable: bool
    score: ServiceScore | None


class IdleShare(Record):
    """A share of the last hour, and its reason: `working`, or why the miner was idle."""

    reason: str = Field(examples=["no jobs for this machine"])
    share: float = Field(ge=0, le=1, examples=[0.62])


class MinerDownload(Record):
    """The download of a model, in bytes; `total` is null while unknown."""

    model: str = Field(examples=["tiny"])
    done: int = Field(examples=[33554432])
    total: int | None = Field(examples=[75572083])


class EnergyPeriod(Record):
    """What a miner has earned, and consumed for it, in a UTC day or month. Money is in credits; null if its electricity has no known price.

    `idle_kwh` was consumed while no job ran.
    """

    period: str = Field(examples=["2024-01-01"])
    jobs: int = Field(examples=[12])
    kwh: float = Field(examples=[1.25])
    idle_kwh: float = Field(examples=[0.4])
    earned: fields.Amount
    electricity: fields.Amount | None
    net: fields.Amount | None


class UnprofitableModel(Record):
    """A model, or a service without models (null), that accepts no jobs now because of its electricity, and why."""

    service: fields.ServiceId
    model: str | None = Field(examples=["tiny"])
    reason: str = Field(
        examples=[
            "An hour of it earns 0.1 credits and costs 0.4 credits of electricity now; miner.energy.minimum_profit is 0."
        ]
    )


class MinerEnergy(Record):
    """The price of a kilowatt-hour in the owner's currency, and what is left of the earnings. `problem`: why the price may be an old one."""

    price: float | None = Field(examples=[0.3])
    currency: str | None = Field(examples=["EUR"])
    problem: str | None = Field(examples=[None])
    today: EnergyPeriod
    month: EnergyPeriod
    unprofitable: list[UnprofitableModel]


FIGURES = (
    "In bytes, bytes per second, MHz, watts, degrees Celsius and pictures per second; of a service its speed"
)


class TestedCard(Record):
    """The figures of a card in a self-test."""

    uuid: str = Field(examples=["GPU-8a56a4bc"])
    figures: dict[str, float] = Field(
        description=FIGURES, examples=[{"memory_checked": 24000000000, "memory_wrong": 0, "temperature": 71}]
    )


class SelftestResult(Record):
    """The result of a miner's latest self-test, as the miner reports it: `passed` or `failed`."""

    verdict: str = Field(examples=["passed"])
    began_at: fields.Time


class MinerSelftest(SelftestResult):
    """A miner's latest self-test, with what it found wrong, and the figures of the machine and of its cards."""

    seconds: float = Field(examples=[251.4])
    agent_version: str = Field(examples=["0.2.0"])
    problems: list[str] = Field(examples=[[]])
    figures: dict[str, float] = Field(description=FIGURES, examples=[{}])
    cards: list[TestedCard]


class MinerJob(Record):
    """A job that runs on the miner."""

    job_id: fields.JobId
    service_id: fields.ServiceId
    progress: fields.Percentage
    started_at: fields.Time | None


class MinerCommand(QueuedCommand):
    """A command that the miner has not executed yet. Fields that do not apply are null."""

    model_config = ALWAYS_PRESENT

    gpu: str | None = Field(default=None, examples=[None])
    seconds: float | None = Field(default=None, examples=[3600])
    model: str | None = Field(default=None, examples=[None])


class ChangedSetting(Record):
    """A setting that a command changes, as written in the settings file; null values stand for the default."""

    setting: str = Field(examples=["miner.prices.whisper_transcription"])
    before: str | None = Field(examples=["0.0001"])
    after: str | None = Field(examples=["0.0002"])


class GivenCommand(QueuedCommand):
    """A command of the miner's history. `given_by` is the role and the name of the key that gave it.

    `executed_at` is null while it waits; `refusal` has the reasons if the miner refused it.
    """

    model_config = ALWAYS_PRESENT

    given_by: str = Field(examples=["owner"])
    gpu: str | None = Field(examples=[None])
    seconds: float | None = Field(examples=[None])
    model: str | None = Field(examples=[None])
    changes: list[ChangedSetting]
    executed_at: fields.Time | None = Field(examples=[None])
    refusal: list[str] = Field(examples=[[]])


class ServicePrice(Record):
    """The price of a unit of a service: the current one, the setting, and the default, which applies without a setting."""

    service_id: fields.ServiceId
    unit: str | None = Field(examples=["audio second"])
    sale_units: SaleUnitsField
    unit_price: fields.Amount
    setting: fields.Amount | None = Field(examples=[None])
    default: fields.Amount


class ServiceEngines(Record):
    """The engines that can serve a service, the one in use first. Null stands for the agent's own environment."""

    service_id: fields.ServiceId
    engines: list[str | None] = Field(examples=[["faster-whisper", None]])


class MinerSettings(Record):
    """The settings of a miner that can be changed from here, and its newest commands.

    `locked` is the reason if none can be changed. `schedule` are the times of the week, by the machine's clock, at which it accepts
    no jobs.
    """

    miner_id: fields.MinerId
    locked: str | None = Field(examples=[None])
    prices: list[ServicePrice]
    schedule: list[str] = Field(examples=[["Mon-Fri 09:00-18:00"]])
    engines: list[ServiceEngines]
    preferred_engines: list[str] = Field(examples=[["faster-whisper"]])
    history: list[GivenCommand]


class RegisteredMiner(Record):
    """What lists and pages state about a miner. `paused` is the reason for accepting no jobs."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    online: bool
    seen_at: fields.Time
    registered_at: fields.Time
    session: int = Field(examples=[4])
    agent_version: str | None = Field(examples=["0.2.0"])
    version_problem: str | None = Field(
        description="Why its version does not work with the coordinator's, and what to do; it gets no jobs then",
        examples=[None],
    )
    version_advice: str | None = Field(
        default=None,
        description="What its owner should do about an older version that the coordinator still serves",
        examples=[None],
    )
    paused: str | None = Field(examples=[None])


class MinerDetails(RegisteredMiner):
    """A machine. Sizes are in bytes; `paused` is the reason for accepting no jobs; `unavailable` has the reasons by service not offered.

    `sandbox` isolates programs that read clients' files: bubblewrap, landlock or none; null if none works or the agent is too old to
    report it. `idle` are shares of the last hour that sum to 1; empty if the agent is too old to report them. `energy` and
    `selftest` are null unless the miner reports them.
    """

    slots: int = Field(examples=[1])
    cpu_cores: int = Field(examples=[16])
    memory: int = Field(examples=[68719476736])
    disk_free: int = Field(examples=[85899345920])
    sandbox: str | None = Field(examples=["bubblewrap"])
    gpus: list[MinerGpu]
    services: list[MinerService]
    unavailable: dict[str, list[str]] = Field(
        examples=[{"video_transcoding": ["ffmpeg was not found; install it or set runners.ffmpeg."]}]
    )
    idle: list[IdleShare]
    downloads: list[MinerDownload]
    jobs: list[MinerJob]
    commands: list[MinerCommand]
    reputation: float = Field(examples=[4.8])
    total_earned: fields.Amount
    throttled_until: fields.Time | None = Field(description=THROTTLED, examples=[None])
    energy: MinerEnergy | None = None
    selftest: MinerSelftest | None = None


class MinerList(Record):
    """Miners, newest first, and their total number."""

    miners: list[MinerDetails]
    total: int = Field(examples=[1])
    limit: int = Field(examples=[50])
    offset: int = Field(examples=[0])


class FleetMiner(Record):
    """One machine of a fleet. `paused` is the reason for accepting no jobs, `gpus` are the names of its GPUs."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    online: bool
    paused: str | None = Field(examples=[None])
    gpus: list[str] = Field(examples=[["NVIDIA GeForce RTX 4090"]])
    slots: int = Field(examples=[1])
    running: int = Field(description="Number of jobs that run now", examples=[1])
    earned_today: fields.Amount
    total_earned: fields.Amount


class DayEarnings(Record):
    """The earnings of one UTC day, and the number of jobs."""

    date: str = Field(examples=["2024-01-01"], json_schema_extra={"format": "date"})
    amount: fields.Amount
    jobs: int = Field(examples=[12])


class MinerFleet(Record):
    """All machines of one owner, the newest first, and their sums. `days` are their earnings together, today's last.

    `owner` is the name that their enrolment tokens have; null for a machine on its own, and for administrators, who get all machines.
    """

    owner: str | None = Field(examples=["alice"])
    online: int = Field(description="Number of machines that are online", examples=[2])
    gpus: int = Field(examples=[4])
    slots: int = Field(examples=[4])
    running: int = Field(examples=[3])
    days: list[DayEarnings]
    earned_today: fields.Amount
    total_earned: fields.Amount
    miners: list[FleetMiner]


class MinerEarnings(Record):
    """Earnings by day, newest last, and their sum. The other amounts are of all days: what can be paid out now, is on hold, is in payouts that have not ended, and has arrived."""

    miner_id: fields.MinerId
    days: list[DayEarnings]
    total: fields.Amount
    available: fields.Amount
    on_hold: fields.Amount
    pending: fields.Amount
    paid_out: fields.Amount


class EarningRange(AnswerPart):
    """What machines earned: on average, and in the middle half of their days, or from the worst to the best of few."""

    low: fields.Amount
    typical: fields.Amount
    high: fields.Amount


class ServiceOutlook(AnswerPart):
    """The paid jobs of like machines for a service, and its share of what an hour online earned."""

    service_id: fields.ServiceId
    jobs: int = Field(examples=[120])
    per_hour: fields.Amount


class MinerOutlook(Record):
    """What machines with the same cards (`hardware`) earned in the last days, before electricity, for each hour online and for 24 of them.

    Its basis are the paid jobs of `machines` in `online_hours` hours. `missing` says why there is no estimate.
    """

    miner_id: fields.MinerId
    hardware: str = Field(examples=["NVIDIA GeForce RTX 4090"])
    days: int = Field(examples=[7])
    machines: int = Field(examples=[5])
    online_hours: float = Field(examples=[410.5])
    jobs: int = Field(examples=[312])
    missing: str | None = Field(examples=[None])
    per_hour: EarningRange | None
    per_day: EarningRange | None
    services: list[ServiceOutlook]


class MinerFault(AnswerPart):
    """The last run that its miner did not finish, whether or not it lowers the reputation. `code` and `message` are null if its lease expired."""

    job_id: fields.JobId
    time: fields.Time
    code: str | None = Field(examples=["ENGINE_UNAVAILABLE"])
    message: str | None = Field(examples=["The GPU was lost."])


class MinerSummary(RegisteredMiner):
    """A miner. `paused` is the reason for accepting no jobs; `unavailable` has the reasons by service not offered.

    `failed_runs` counts runs that failed by the miner's fault, `refused_results` invalid statements.
    """

    excluded_at: fields.Time | None = Field(description="When an operator excluded it", examples=[None])
    excluded_reason: str | None = Field(examples=[None])
    throttled_until: fields.Time | None = Field(description=THROTTLED, examples=[None])
    services: list[str] = Field(examples=[["llm_inference"]])
    unavailable: dict[str, list[str]] = Field(
        examples=[{"video_transcoding": ["ffmpeg was not found; install it or set runners.ffmpeg."]}]
    )
    gpus: list[str] = Field(examples=[["NVIDIA GeForce RTX 4090"]])
    slots: int = Field(examples=[1])
    reputation: float = Field(examples=[4.8])
    completed_runs: int = Field(examples=[412])
    failed_runs: int = Field(examples=[3])
    refused_results: int = Field(examples=[0])
    last_fault: MinerFault | None
    total_earned: fields.Amount


class DatabaseNumbers(Record):
    """The number of commits since the coordinator's start, and the number of writes that shared them."""

    commits: int = Field(examples=[120])
    writes: int = Field(examples=[840])


class Replica(Record):
    """A running coordinator. One of them leads: it alone matches jobs with miners, and does the upkeep."""

    slot: int = Field(examples=[0])
    host: str = Field(examples=["coordinator-1"])
    version: str = Field(examples=["1.0.0"])
    joined_at: fields.Time
    leads: bool


class FleetVersion(Record):
    """How many miners have an agent of this version. `state` compares it with the coordinator's: `ending` ones are refused by its next minor version.

    `advice` is for their owners: what to do about a version that is refused or older.
    """

    version: str | None = Field(examples=["0.2.0"])
    miners: int = Field(examples=[3])
    online: int = Field(examples=[2])
    state: Literal["current", "newer", "behind", "ending", "refused"]
    advice: str | None = Field(examples=[None])


class Overview(Record):
    """The number of jobs in each state, all miners, the database's writes, the coordinators that use the database, and the miners' versions, those that need an update first."""

    jobs: dict[JobState, int] = Field(examples=[{"submitted": 3, "running": 1, "completed": 40}])
    miners: list[MinerSummary]
    database: DatabaseNumbers
    replicas: list[Replica]
    versions: list[FleetVersion]


class MinerStats(Record):
    """A miner's record. `total_jobs` counts its results and the runs that failed through its own fault (docs/explanation/reputation.md).

    `client_failures` counts the runs that, according to the miner, failed through their clients' fault.
    """

    model_config = example(
        {
            "miner_id": "miner_1234567890",
            "reputation": 4.8,
            "total_jobs": 500,
            "success_rate": 0.98,
            "average_completion_time": 115.2,
            "total_earned": "125.50",
            "active_since": "2024-01-01T00:00:00Z",
            "failed_runs": 10,
            "client_failures": 12,
            "refused_results": 0,
        }
    )

    miner_id: fields.MinerId
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: fields.Amount
    active_since: fields.Time
    failed_runs: int
    client_failures: int
    refused_results: int


class WaitingKind(Record):
    """Waiting jobs of one service and model that a miner does not get for the same reasons. Without any, it can run them now."""

    service_id: fields.ServiceId
    model: str | None = Field(examples=["llama-7b"])
    jobs: int = Field(examples=[3])
    reasons: list[Reason] = Field(description="`action` is what the miner's owner can do")


class MinerExplanation(Record):
    """Why a miner does not get the jobs that wait, by kind of job."""

    miner_id: fields.MinerId
    summary: str = Field(
        description="One sentence for people", examples=["This machine can run none of 3 waiting jobs now."]
    )
    waiting_jobs: int = Field(description="Of a long queue, the 2000 most urgent ones", examples=[3])
    kinds: list[WaitingKind]
