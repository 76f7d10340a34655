"""What audits add to a job's request, to its details, and to the answers about services."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field

from agent.core.values.fields import Answer


class AuditOptions(BaseModel, defer_build=True):
    """The option of a job that requests an audit."""

    audited: bool = Field(
        default=False,
        description=(
            "Have another miner check the result. It costs the share of the job's price that the service's `audit` in the registry states; "
            "`pricing.max_cost` covers both"
        ),
    )


class JobAudit(Answer):
    """The audit of a job, of which `GET /v1/jobs/{job_id}/audit` has the whole."""

    audit_id: str = Field(examples=["audit_1234567890"])
    status: Literal["waiting", "running", "decided"] = Field(examples=["decided"])
    verdict: Literal["pass", "fail", "unproven"] | None = Field(default=None, examples=["pass"])


class AuditedDetails(Answer):
    """The audit in a job's details."""

    audit: JobAudit | None = Field(default=None, description="Present if another miner checks the result")


class AuditPrice(Answer):
    """What a job with `audited` costs in addition, in percent of its price. `auditors` are online miners that check work of the service."""

    percent: float = Field(ge=0, examples=[10.0])
    compares: str = Field(examples=["The probabilities of the tokens must be close to the auditor's own."])
    auditors: int = Field(ge=0, examples=[2])


class AuditedService(Answer):
    """The price of an audit in an answer about a service."""

    audit: AuditPrice | None = Field(description="Null if results of the service cannot be compared")


FIELDS: Final = {"OptionFields": AuditOptions, "Details": AuditedDetails, "ServiceFields": AuditedService}
