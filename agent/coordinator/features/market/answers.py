"""Answers of the service registry, composed with the fields of features."""

from __future__ import annotations

from pydantic import Field

from agent.coordinator import job_fields
from aitbc.answers.fields import Answer
from aitbc.answers.registry import PlainService, PlainServiceDetails


class ServiceSummary(job_fields.ServiceFields, PlainService):
    """A service. It is metered in `unit`, or in `cpu_unit` on machines without a GPU; `determinism` states how two results compare."""


class ServiceDetails(job_fields.ServiceFields, PlainServiceDetails):
    """A service in full. `models` and `adapters` are the names that a request may use.

    `ready` are those that a miner which is online has on disk; it is at most a few seconds old. A job with another model waits until a
    miner has fetched it.
    """


class ServicePage(Answer):
    """Services, and their number."""

    services: list[ServiceSummary]
    total: int = Field(ge=0, examples=[1])
