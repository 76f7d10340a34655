"""What decides when a job runs, and the words of reasons: what prevents it from running, by how much, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Self

from agent.core.feasibility import KnownMiner, Situation
from agent.core.matching import OPTIONS, Waiting, has_feature
from agent.core.values.durations import format_duration
from agent.core.values.quantities import format_money, format_time, gibibytes
from agent.core.waiting_reasons import WaitingReason
from aitbc.figures import amounts, sale_units
from aitbc.reasons import ReasonCode
from runners.registry import installed

MAX_NAMED: Final = 3
"""How many miners a sentence names."""


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run of the job that failed on a miner."""

    miner_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobSituation(Situation):
    """Everything that an explanation depends on, besides the job.

    `limit` is the account's maximum number of running jobs, None without one. `ahead` are the jobs that come first, oldest first; None:
    unknown. `of_features` are reasons that other features know.
    """

    missing_files: Sequence[str] = ()
    failures: Sequence[FailedRun] = ()
    of_features: Sequence[WaitingReason] = ()
    running: int = 0
    limit: int | None = None
    ahead: Sequence[Waiting] | None = None

    @classmethod
    def of(cls, situation: Situation) -> Self:
        """Return the situation of a job of which nothing else is to be explained."""
        return cls(situation.miners, situation.now, situation.unit, situation.units, situation.model)


@dataclass(frozen=True, slots=True)
class Words:
    """What prevents a job from running, how to change that, and the figures for programs."""

    message: str
    action: str
    details: Mapping[str, Any] = field(default_factory=dict)


_Words = Callable[[Waiting, Sequence[KnownMiner], JobSituation], Words]


def names(miners: Sequence[KnownMiner]) -> str:
    """Return the names of miners for a sentence: at most a few of them."""
    miner_names = [miner.name for miner in miners[:MAX_NAMED]]
    # Hundreds of names would hide the sentence.
    if len(miners) > MAX_NAMED:
        return f"{', '.join(miner_names)} and {len(miners) - MAX_NAMED} more miners"
    return " and ".join(filter(None, (", ".join(miner_names[:-1]), *miner_names[-1:])))


def _are(miners: Sequence[KnownMiner]) -> str:
    return "is" if len(miners) == 1 else "are"


def _files_missing(_job: Waiting, _miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    files = list(situation.missing_files)
    return Words(
        f"Files are still to be uploaded: {', '.join(files)}.",
        "Upload them with PUT /v1/jobs/{job_id}/files/{name}, or submit the job again with its files.",
        {"files": files},
    )


def _no_miners(*_: object) -> Words:
    return Words(
        "No miner has joined this coordinator yet.",
        "Start one with `aitbc-agent start`, or invite one with `aitbc-agent enroll`.",
    )


def _miner_unknown(job: Waiting, _miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    return Words(
        f"There is no miner {job.miner_id}.",
        "Submit the job again with the id of an existing miner, or without miner_id.",
        {"miner_id": job.miner_id},
    )


def _not_chosen(job: Waiting, *_: object) -> Words:
    return Words(
        f"The job names the miner {job.miner_id}.",
        "Submit the job again without miner_id, so that other miners can run it.",
        {"miner_id": job.miner_id},
    )


def _account_limit(_job: Waiting, _miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    jobs = "1 job" if situation.limit == 1 else f"{situation.limit} jobs"
    return Words(
        f"Your account may run {jobs} at a time, because many of its jobs failed through their own errors.",
        "Wait until a running job has ended. The limit ends automatically within minutes if no more jobs fail.",
        {"running": situation.running, "limit": situation.limit},
    )


def _service_not_offered(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    whose = "No miner offers" if len(miners) != 1 else f"{miners[0].name} does not offer"
    # One machine's own words help its owner more than a list of all.
    reported = next(
        ((miner.name, why[0]) for miner in miners if (why := miner.unavailable.get(job.service))), None
    )
    because = f" {reported[0]} reports: {reported[1]}" if reported else ""
    return Words(
        f"{whose} the service {job.service}.{because}",
        "The owner of a miner can add it; `aitbc-agent doctor` shows what is missing.",
        {"service": job.service},
    )


def _feature_missing(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    # Only the features that are really missing, since a job may request several.
    lacking = {
        name: value
        for name, value in job.needs
        if any(not has_feature(miner.candidate.services[job.service], name, value) for miner in miners)
    }
    features = ", ".join(lacking.values())
    if OPTIONS in lacking:
        return Words(
            f"{names(miners)} {'has' if len(miners) == 1 else 'have'} an older version of the agent, which does not know {lacking[OPTIONS]}.",
            "Submit the job without it; the owner of a miner can update its agent.",
            {"needs": lacking},
        )
    available = sorted(
        {
            str(item)
            for miner in miners
            for name in lacking
            if isinstance(has := miner.candidate.services[job.service].features.get(name), list | dict)
            for item in has
        }
    )
    instead = (
        f"Request one of these instead: {', '.join(available)}."
        if available
        else "Submit the job without it."
    )
    return Words(
        f"{features} does not work on {names(miners)}.", instead, {"needs": lacking, "has": available}
    )


def _reputation_too_low(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    best = max(miner.candidate.reputation for miner in miners)
    min_reputation = job.restrictions.min_reputation
    return Words(
        f"The best of {len(miners)} miners that could run it has the reputation {best:.2f}; the job requests {min_reputation:.2f}."
        if len(miners) > 1
        else f"{names(miners)} has the reputation {best:.2f}; the job requests {min_reputation:.2f}.",
        f"Submit the job again with min_reputation of at most {best:.2f}.",
        {"min_reputation": min_reputation, "best": round(best, 2)},
    )


def _not_an_auditor(_job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    return Words(
        f"{names(miners)} cannot check this work.",
        "Connect an auditor of another owner for this service, with a calibration for the model.",
    )


def _no_auditor(job: Waiting, _miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    least = job.restrictions.min_reputation
    trusted = f" with a reputation of at least {least:g}" if least else ""
    return Words(
        f"The job requests an audit, but no miner of another owner{trusted} checks work of the service {job.service}.",
        "Submit the job again without audited.",
        {"service": job.service},
    )


def _model_missing(job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    fetchable = situation.model is not None and situation.model.fetchable
    how = (
        f"Its owner can fetch it with `aitbc-agent models pull {job.model}`."
        if fetchable
        else "Its owner can add it with `aitbc-agent models add`."
    )
    who = "No miner has" if len(miners) != 1 else f"{miners[0].name} does not have"
    could = [miner.miner_id for miner in miners] if fetchable else []
    who_could_fetch = f" {names(miners)} could fetch it." if fetchable else ""
    return Words(
        f"{who} the model {job.model}.{who_could_fetch}",
        f"{how} Or choose another model.",
        {"model": job.model, "could_fetch": could},
    )


def _model_too_large(job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    on_gpu = any(miner.gpu_memories for miner in miners)
    needs = situation.model
    need = 0 if needs is None else needs.vram if on_gpu else needs.memory
    # Only machines of the same kind are compared: GPU memory says nothing about a machine without GPU.
    has = max(miner.memory_for(job.service) for miner in miners if bool(miner.gpu_memories) is on_gpu)
    memory = "GPU memory" if on_gpu else "memory"
    return Words(
        f"The model {job.model} needs {gibibytes(need)} of {memory}; the largest miner has {gibibytes(has)}.",
        "Choose a smaller model.",
        {"model": job.model, "needed": need, "available": has},
    )


def _not_enough_cpu(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    has = max(miner.candidate.cpu_cores for miner in miners)
    return Words(
        f"The job requests {job.cpu.normalize():f} CPU cores; the largest miner has {has}.",
        f"Lower resources.cpu to at most {has}.",
        {"requested": f"{job.cpu.normalize():f}", "available": str(has)},
    )


def _not_enough_memory(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    has = max(miner.candidate.memory for miner in miners)
    return Words(
        f"The job requests {gibibytes(job.memory)} of memory; the largest miner has {gibibytes(has)}.",
        f"Lower resources.memory to at most {has >> 20}Mi.",
        {"requested": job.memory, "available": has},
    )


def _not_enough_gpus(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    has = max(min(miner.candidate.gpus, miner.candidate.services[job.service].gpus) for miner in miners)
    gpus_available = (
        "no miner has a GPU" if has == 0 else f"a job of this service can use {has} on the largest miner"
    )
    how = "Omit resources.gpu" if has == 0 else f"Lower resources.gpu to at most {has}"
    return Words(
        f"The job requests {job.gpus} GPU{'s' if job.gpus != 1 else ''}; {gpus_available}.",
        f"{how}, or wait for a miner with more.",
        {"requested": job.gpus, "available": has},
    )


def _sale_units(service: str, situation: JobSituation) -> Sequence[sale_units.AnySaleUnit]:
    runner = installed().get(service)
    return (
        sale_units.sale_units_of(None, situation.unit)
        if runner is None
        else runner.definition.sale_units_on("cuda")
    )


def _exact(amount: Decimal) -> str:
    # A limit that is rounded up would be refused again, or seem to suffice.
    return amounts.with_currency(format_money(amount))


def _price(job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    lowest = min(miner.candidate.services[job.service].unit_price for miner in miners)
    budget = job.budget or 0 * lowest
    return Words(
        f"The lowest price is {sale_units.price(lowest, _sale_units(job.service, situation))}. One {situation.unit} costs "
        f"{format_money(lowest - budget)} more than the job's max_cost of {_exact(budget)}.",
        f"Submit the job again with pricing.max_cost of at least {_exact(lowest)}; it is the limit for the whole job.",
        {
            "max_cost": format_money(budget),
            "lowest_price": format_money(lowest),
            "missing": format_money(lowest - budget),
            "unit": situation.unit,
        },
    )


def _estimate(job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    lowest = min(miner.candidate.services[job.service].unit_price for miner in miners)
    units = situation.units or 0 * lowest
    cost, budget = units * lowest, job.budget or 0 * lowest
    return Words(
        f"The job takes {sale_units.quantity(units, _sale_units(job.service, situation))}, which cost at least {_exact(cost)}: "
        f"{format_money(cost - budget)} more than its max_cost of {_exact(budget)}.",
        f"Raise pricing.max_cost to at least {_exact(cost)}, or request less.",
        {
            "max_cost": format_money(budget),
            "estimated_cost": format_money(cost),
            "missing": format_money(cost - budget),
            "units": f"{units.normalize():f}",
            "unit": situation.unit,
        },
    )


def _excluded(_job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    reason = next((miner.excluded_reason for miner in miners if miner.excluded_reason), None)
    return Words(
        f"The operator has excluded {names(miners)}{f': {reason}' if reason else ''}.",
        "Submit the job again without miner_id, or ask the operator.",
        {"reason": reason},
    )


def _offline(_job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    newest = max(miner.seen_at for miner in miners)
    return Words(
        f"{names(miners)} {_are(miners)} offline; last seen {format_duration(max(0.0, situation.now - newest))} ago.",
        "Wait until it is back, or ask its owner.",
        {"last_seen": format_time(newest)},
    )


def _paused(_job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    why = (miners[0].paused or "").rstrip(".")
    return Words(
        f"{names(miners)} {_are(miners)} paused{'' if why[:1].islower() else ':'} {why}.",
        "Its owner can resume it with `aitbc-agent resume`.",
        {"paused": miners[0].paused},
    )


def _asleep(_job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    return Words(
        f"{names(miners)} {_are(miners)} paused {miners[0].paused}.",
        "Wait for the end of the schedule's pause; its owner can resume it earlier.",
        {"paused": miners[0].paused},
    )


def _suspended(_job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    until = min(miner.suspended_until for miner in miners)
    return Words(
        f"{names(miners)} {'gets' if len(miners) == 1 else 'get'} no jobs for another "
        f"{format_duration(max(0.0, until - situation.now))}, because too many were handed back.",
        "Wait; the owner finds the cause with `aitbc-agent doctor`.",
        {"until": format_time(until)},
    )


def _service_paused(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    why = miners[0].candidate.services[job.service].paused or ""
    return Words(
        f"The service {job.service} pauses on {names(miners)}. {why}".strip(),
        "Wait; the service starts again automatically.",
        {"service": job.service},
    )


def _model_unavailable(job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    return Words(
        f"{names(miners)} cannot load the model {job.model} at present: other programs use the memory, or it failed to load.",
        "Wait, or choose a smaller model; the owner sees the cause with `aitbc-agent status`.",
        {"model": job.model},
    )


def _failed_there(_job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    ids = {miner.miner_id: miner.name for miner in miners}
    failures = [failed for failed in situation.failures if failed.miner_id in ids]
    why = "; ".join(f"{ids[item.miner_id]}: {item.message} ({item.code})" for item in failures[-MAX_NAMED:])
    return Words(
        f"The job failed on {names(miners)}. {why}".strip(),
        "Wait; another miner gets it first, or the same one after a pause.",
        {
            "failures": [
                {"miner_id": item.miner_id, "code": item.code, "message": item.message} for item in failures
            ]
        },
    )


def _busy(_job: Waiting, miners: Sequence[KnownMiner], _situation: JobSituation) -> Words:
    if len(miners) == 1:
        return Words(f"{miners[0].name} is busy with other jobs.", "Wait until it is free.")
    return Words(f"All {len(miners)} miners that can run it are busy.", "Wait until one is free.")


def _queued(_job: Waiting, _miners: Sequence[KnownMiner], situation: JobSituation) -> Words:
    ahead = situation.ahead or ()
    count = len(ahead)
    return Words(
        f"{count} job{'s' if count != 1 else ''} of the queue {'come' if count != 1 else 'comes'} first.",
        "Wait, or submit it with a higher priority.",
        {"ahead": count},
    )


WORDS: Final[Mapping[ReasonCode, _Words]] = {
    ReasonCode.FILES_MISSING: _files_missing,
    ReasonCode.ACCOUNT_LIMIT: _account_limit,
    ReasonCode.NO_MINERS: _no_miners,
    ReasonCode.MINER_UNKNOWN: _miner_unknown,
    ReasonCode.NOT_CHOSEN: _not_chosen,
    ReasonCode.SERVICE_NOT_OFFERED: _service_not_offered,
    ReasonCode.FEATURE_MISSING: _feature_missing,
    ReasonCode.REPUTATION_TOO_LOW: _reputation_too_low,
    ReasonCode.NOT_AN_AUDITOR: _not_an_auditor,
    ReasonCode.NO_AUDITOR: _no_auditor,
    ReasonCode.MODEL_MISSING: _model_missing,
    ReasonCode.MODEL_TOO_LARGE: _model_too_large,
    ReasonCode.NOT_ENOUGH_CPU: _not_enough_cpu,
    ReasonCode.NOT_ENOUGH_MEMORY: _not_enough_memory,
    ReasonCode.NOT_ENOUGH_GPUS: _not_enough_gpus,
    ReasonCode.PRICE_ABOVE_MAX_COST: _price,
    ReasonCode.ESTIMATE_ABOVE_MAX_COST: _estimate,
    ReasonCode.MINER_EXCLUDED: _excluded,
    ReasonCode.MINER_OFFLINE: _offline,
    ReasonCode.MINER_PAUSED: _paused,
    ReasonCode.MINER_ASLEEP: _asleep,
    ReasonCode.MINER_SUSPENDED: _suspended,
    ReasonCode.SERVICE_PAUSED: _service_paused,
    ReasonCode.MODEL_UNAVAILABLE: _model_unavailable,
    ReasonCode.FAILED_THERE: _failed_there,
    ReasonCode.MINER_BUSY: _busy,
    ReasonCode.QUEUED: _queued,
}
