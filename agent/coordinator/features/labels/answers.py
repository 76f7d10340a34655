"""Answers about labels."""

from __future__ import annotations

from pydantic import Field

from agent.core.values.fields import Answer


class LabelCount(Answer):
    """A label and the number of jobs that have it."""

    key: str = Field(examples=["project"])
    value: str = Field(examples=["podcast"])
    jobs: int = Field(examples=[12])


class LabelCounts(Answer):
    """The labels of jobs, those of most jobs first. `more`: there are further ones beyond the limit."""

    labels: list[LabelCount]
    more: bool = Field(examples=[False])
