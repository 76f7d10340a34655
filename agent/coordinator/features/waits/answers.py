"""Answers about why jobs wait, and why a miner does not get them."""

from __future__ import annotations

from pydantic import Field

from agent.coordinator.operations.answers.jobs import JobReason, Status
from agent.core.reasons import CanRun, ReasonCode
from agent.core.values import fields
from agent.core.values.fields import Answer


class MinerReasons(Answer):
    """The reasons of one miner. Without any, it can run the job now."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    reasons: list[ReasonCode] = Field(examples=[["PRICE_ABOVE_MAX_COST"]])


class JobExplanation(Answer):
    """Why a job does not run, or that it runs or has ended. The most important reason is the first."""

    job_id: fields.JobId
    status: Status = Field(examples=["submitted"])
    summary: str = Field(
        description="One sentence for people",
        examples=["One token costs at least 0.001, which is 0.0009 more than the job's max_cost of 0.0001."],
    )
    can_run: CanRun = Field(
        description="`now`: it runs or starts immediately; `later`: once the reasons end; `never`: not as it is on any known miner",
        examples=["never"],
    )
    reasons: list[JobReason]
    position: int | None = Field(
        description="Position in the queue of the miners that can run it, 1 for the next; null: it is in no queue",
        examples=[None],
    )
    ahead: int | None = Field(description="Number of jobs that come first", examples=[None])
    estimated_start: fields.Time | None = Field(
        description="Null without measured durations to derive it from", examples=[None]
    )
    miners: list[MinerReasons] = Field(
        description="Known miners, the one nearest to running the job first; at most 50"
    )


class WaitingKind(Answer):
    """Waiting jobs of one service and model that a miner does not get for the same reasons. Without any, it can run them now."""

    service_id: fields.ServiceId
    model: str | None = Field(examples=["llama-7b"])
    jobs: int = Field(examples=[3])
    reasons: list[JobReason] = Field(description="`action` is what the miner's owner can do")


class MinerExplanation(Answer):
    """Why a miner does not get the jobs that wait, by kind of job."""

    miner_id: fields.MinerId
    summary: str = Field(
        description="One sentence for people", examples=["This machine can run none of 3 waiting jobs now."]
    )
    waiting_jobs: int = Field(description="Of a long queue, the 2000 most urgent ones", examples=[3])
    kinds: list[WaitingKind]
