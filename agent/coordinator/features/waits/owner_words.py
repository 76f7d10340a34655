"""What a miner's owner can do so that the miner gets a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from agent.core.feasibility import KnownMiner, Situation
from agent.core.matching import OPTIONS, Waiting, has_feature
from agent.core.values.quantities import format_money
from aitbc.reasons import ReasonCode

_Action = Callable[[Waiting, KnownMiner, Situation], str]


def _add_service(job: Waiting, miner: KnownMiner, _situation: Situation) -> str:
    reported = " ".join(miner.unavailable.get(job.service, ()))
    return f"{reported} `aitbc-agent doctor` checks the machine.".strip()


def _add_feature(job: Waiting, miner: KnownMiner, situation: Situation) -> str:
    offer = miner.candidate.services.get(job.service)
    lacking = [(name, value) for name, value in job.needs if offer and not has_feature(offer, name, value)]
    options = [value for name, value in lacking if name == OPTIONS]
    return (
        f"Update the agent: it does not know {options[0]}."
        if options
        else _add_service(job, miner, situation)
    )


def _lower_price(job: Waiting, _miner: KnownMiner, situation: Situation) -> str:
    budget = "0" if job.budget is None else format_money(job.budget)
    return f"Lower miner.prices.{job.service} to at most {budget} (credits per {situation.unit}), and restart the agent."


def _fetch_model(job: Waiting, _miner: KnownMiner, situation: Situation) -> str:
    if situation.model is not None and situation.model.fetchable:
        return f"Run `aitbc-agent models pull {job.model}`."
    return f"The catalogue has no source for the model {job.model}. Add one with `aitbc-agent models add`."


def _always(text: str) -> _Action:
    return lambda _job, _miner, _situation: text


_HARDWARE: Final = _always("The job needs a larger machine.")

OWNER_ACTIONS: Final[Mapping[ReasonCode, _Action]] = {
    ReasonCode.SERVICE_NOT_OFFERED: _add_service,
    ReasonCode.FEATURE_MISSING: _add_feature,
    ReasonCode.REPUTATION_TOO_LOW: _always("There is no immediate remedy: reputation grows with good runs (docs/explanation/reputation.md)."),
    ReasonCode.PRICE_ABOVE_MAX_COST: _lower_price,
    ReasonCode.MODEL_MISSING: _fetch_model,
    ReasonCode.MODEL_TOO_LARGE: _HARDWARE,
    ReasonCode.NOT_ENOUGH_CPU: _HARDWARE,
    ReasonCode.NOT_ENOUGH_MEMORY: _HARDWARE,
    ReasonCode.NOT_ENOUGH_GPUS: _HARDWARE,
    ReasonCode.MODEL_UNAVAILABLE: _always("`aitbc-agent status` shows what uses the memory, or why the model failed to load."),
    ReasonCode.MINER_EXCLUDED: _always("Ask the operator of the coordinator for the reason."),
    ReasonCode.MINER_OFFLINE: _always("Start the agent, and check its connection with `aitbc-agent doctor`."),
    ReasonCode.MINER_PAUSED: _always("Run `aitbc-agent resume`, or wait until the cause of the pause ends."),
    ReasonCode.MINER_ASLEEP: _always("Wait for the end of the schedule's pause, run `aitbc-agent resume`, or change miner.pause.schedule."),
    ReasonCode.MINER_SUSPENDED: _always("Wait; avoid stopping or pausing the agent while jobs run."),
    ReasonCode.SERVICE_PAUSED: _always("Wait; `aitbc-agent status` and the log show the failures."),
    ReasonCode.FAILED_THERE: _always("Nothing: another miner tries it first. The log shows why it failed here."),
    ReasonCode.MINER_BUSY: _always("Nothing: the machine gets it when a slot is free. More slots: miner.slots."),
}  # fmt: skip
"""By code. The other codes are of the job or of its client, and an owner cannot change them."""
