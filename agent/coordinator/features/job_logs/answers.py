"""Answers about logs of jobs."""

from __future__ import annotations

from pydantic import Field

from agent.core.values import fields
from agent.core.values.fields import Answer


class JobLogEntry(Answer):
    """One line that a run wrote. `source` is the program or stream; `attempt` counts the job's runs from 1."""

    time: fields.Time
    attempt: int = Field(ge=1, examples=[1])
    source: str = Field(examples=["stdout"])
    text: str = Field(examples=["loading the model"])


class JobLog(Answer):
    """What the runs of a job wrote, oldest first. `truncated`: the log was longer, and lines are missing."""

    job_id: fields.JobId
    entries: list[JobLogEntry]
    truncated: bool = Field(examples=[False])
