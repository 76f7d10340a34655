"""What audits add to a job's request, to its details, and to the answers about services."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field

from aitbc.answers.jobs import AuditedJob
from aitbc.answers.registry import AuditableService


class AuditOptions(BaseModel, defer_build=True):
    """The option of a job that requests an audit."""

    audited: bool = Field(
        default=False,
        description=(
            "Have another miner check the result. It costs the share of the job's price that the service's `audit` in the registry states; "
            "`pricing.max_cost` covers both"
        ),
    )


class AuditedDetails(AuditedJob, defer_build=True):
    """The audit in a job's details."""


class AuditedService(AuditableService, defer_build=True):
    """The price of an audit in an answer about a service."""


FIELDS: Final = {"OptionFields": AuditOptions, "Details": AuditedDetails, "ServiceFields": AuditedService}
