"""Labels of jobs: pairs of key and value by which clients group and find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field

from agent.core.errors import ValidationFailed
from agent.settings import CoordinatorSettings

MAX_VALUE: Final = 255
"""Characters of a value, as many as the database's column has."""

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$", examples=["project"])]
LabelValue = Annotated[
    str, Field(max_length=MAX_VALUE, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", examples=["podcast"])
]
Labels = Annotated[
    dict[LabelKey, LabelValue],
    Field(
        description="Keys and values of your choice, by which lists can be filtered",
        examples=[{"project": "podcast", "episode": "12"}],
    ),
]


def problem(settings: CoordinatorSettings, labels: Mapping[str, str]) -> str | None:
    """Return why a job cannot have these labels; None if it can."""
    if len(labels) > settings.max_labels:
        return f"a job may have {settings.max_labels} labels, and this one has {len(labels)}"
    return None


def parse_filters(filters: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the keys and values of `label=key:value` filters. Raises `ValidationFailed`."""
    pairs = [text.partition(":") for text in filters]
    if any(not colon or not key for key, colon, _ in pairs):
        raise ValidationFailed(
            "The request is not valid.", {"label": "write it as key:value, for example project:podcast"}
        )
    return tuple((key, value) for key, _, value in pairs)
