"""Answers about audits and canaries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.record import Record

AuditId = Annotated[str, Field(examples=["audit_1234567890"])]
CanaryId = Annotated[str, Field(examples=["canary_1234567890"])]
VerdictName = Literal["pass", "fail", "unproven"]


class Audit(Record):
    """What one auditor is asked about a result, and what it found. Without a `parent` it begins an audit, whose decision is `verdict`."""

    audit_id: AuditId
    job_id: fields.JobId
    receipt_id: fields.ReceiptId
    miner_id: fields.MinerId
    service: fields.ServiceId
    model: str | None = Field(examples=["smollm2-135m-instruct"])
    kind: Literal["check", "third", "canary", "second_opinion"] = Field(
        description="`check`: of a finished job; `third`: a further opinion about it; `canary`: of a job with a known answer; `second_opinion`: requested by the miner's owner",
        examples=["check"],
    )
    status: Literal["waiting", "running", "decided"] = Field(examples=["decided"])
    opinion: VerdictName | None = Field(
        description="The auditor's own opinion; null until it answers", examples=["pass"]
    )
    verdict: VerdictName | None = Field(
        description="The audit's decision; of several opinions, that of two that agree",
        examples=["pass"],
    )
    distances: dict[str, float] = Field(
        description="What was compared, by name; each distance grows with the difference",
        examples=[{"log_probability": 0.0071}],
    )
    limits: dict[str, float] = Field(
        description="The distances above which the comparison fails", examples=[{"log_probability": 0.0125}]
    )
    where: str = Field(description="The worst position", examples=["token 41"])
    reason: str = Field(examples=["The probabilities of the tokens differ as between honest runs."])
    verdict_reason: str | None = Field(
        description="The `reason` of an opinion that agrees with the verdict: of another one, if this opinion does not; null until there is a verdict",
        examples=["The probabilities of the tokens differ as between honest runs."],
    )
    cause: Literal["miner", "registration"] | None = Field(
        description="Why it proves nothing, as far as the miner can change that. `miner`: what it sent or stated cannot be compared; `registration`: its statement contradicts what it has registered",
    )
    contradiction: str | None = Field(
        description="What of the statement or the evidence contradicts the miner's registration",
        examples=["The statement names the GPU 'GPU-2', which the miner has not registered."],
    )
    salt: str = Field(
        description="16 random bytes in hex, so that nobody can guess the words from their digest in the log; empty if there are none, or they were erased",
        examples=["5f2c8a1be07d4936a1c4e9d2b8037f65"],
    )
    comparison_sha256: fields.Sha256 = Field(
        description="SHA-256 of the canonical JSON of `distances`, `limits`, `where`, `reason` and, unless it is empty, `salt`. Equals that in the log's leaf, unless the words were erased with the data of the job"
    )
    created_at: fields.Time
    decided_at: fields.Time | None
    probability: float | None = Field(
        description="Upper bound of the probability that an honest miner has so many failures; null until the audit is settled",
        examples=[3.2e-9],
    )
    enforced: bool = Field(
        description="Whether the job's pay was forfeited and its failure lowers the miner's reputation",
        examples=[False],
    )
    forfeited: fields.Amount = Field(examples=["0"])
    parent: AuditId | None = Field(description="The audit to which this further opinion belongs")
    second_opinion_until: fields.Time | None = Field(
        description="Until when the miner's owner can ask for a second opinion; null if that is not possible"
    )


class AuditList(Record):
    """Opinions, newest first. If there are more, `next` is the value of `before` for the next page."""

    audits: list[Audit]
    next: str | None = None


class AuditStanding(Record):
    """What audits have shown of a miner in a service and model. `share` of its jobs there is audited."""

    role: Literal["miner", "auditor"] = Field(examples=["miner"])
    service: fields.ServiceId
    model: str | None = Field(examples=["smollm2-135m-instruct"])
    passes: int = Field(description="Consecutive", ge=0, examples=[41])
    checked: int = Field(ge=0, examples=[43])
    failed: int = Field(ge=0, examples=[1])
    canaries_checked: int = Field(ge=0, examples=[5])
    canaries_failed: int = Field(ge=0, examples=[0])
    unproven: int = Field(
        description="Audits that proved nothing, which count as neither checked nor failed; of an auditor, its opinions that prove nothing",
        ge=0,
        examples=[2],
    )
    unproven_at_fault: int = Field(
        description="Those of them that the miner itself has caused; of an auditor, those that two others refute",
        ge=0,
        examples=[0],
    )
    probability: float = Field(
        description="Upper bound of the probability that an honest miner has so many failures",
        examples=[0.12],
    )


class MinerAudits(AuditList):
    """A miner's decided audits, and what they have shown so far."""

    proofs: list[AuditStanding]


class Canary(Record):
    """A job with a known answer. `job_id` is the job that gave the answer; `submitted` counts its submissions since then."""

    canary_id: CanaryId
    job_id: fields.JobId
    service: fields.ServiceId
    model: str | None = Field(examples=["smollm2-135m-instruct"])
    note: str = Field(examples=["transcribed by ear"])
    submitted: int = Field(ge=0, examples=[3])
    created_at: fields.Time


class CanaryList(Record):
    """All canaries, newest first."""

    canaries: list[Canary]
