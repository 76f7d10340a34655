"""Answers about miners: what is done to them, and what they offer."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from agent.coordinator import job_fields
from agent.core.values import fields
from agent.core.values.fields import Answer


def _require_all(schema: dict[str, Any]) -> None:
    schema["required"] = list(schema["properties"])


ALWAYS_PRESENT = ConfigDict(json_schema_extra=_require_all)
"""Configuration of answers whose fields are null, rather than left out, if they do not apply."""


class ServiceScore(Answer):
    """The miner's score in its own benchmark."""

    model_config = ALWAYS_PRESENT

    metric: str = Field(examples=["audio second/s"])
    value: float = Field(examples=[41.7])
    device: str | None = Field(default=None, examples=["NVIDIA GeForce RTX 4090"])


class Exclusion(Answer):
    """An excluded miner, and the number of its jobs that were queued again."""

    miner_id: fields.MinerId
    excluded_at: fields.Time
    requeued_jobs: int = Field(examples=[2])


class Removal(job_fields.RemovalFields, Answer):
    """A removed miner, and the number of its jobs that were queued again."""

    miner_id: fields.MinerId
    removed_at: fields.Time
    requeued_jobs: int = Field(examples=[2])


class Inclusion(Answer):
    """A miner that may register again."""

    miner_id: fields.MinerId
