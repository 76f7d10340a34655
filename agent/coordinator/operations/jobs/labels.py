"""Labels of jobs: pairs of key and value by which clients group and find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from agent.core.errors import ValidationFailed
from agent.settings import CoordinatorSettings

MAX_VALUE: Final = 255
"""Characters of a value, as many as the database's column has."""
MAX_LABELS: Final = 1000
"""The highest value of the setting `max_labels`."""
MAX_FILTERS: Final = 100
"""Labels by which a list is filtered at most, also where jobs may have more: the database looks each of them up."""

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$", examples=["project"])]
LabelValue = Annotated[
    str, Field(max_length=MAX_VALUE, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", examples=["podcast"])
]


def _few(value: Any) -> Any:
    """Refuse more labels than any setting allows before each of them is checked."""
    if isinstance(value, Mapping) and len(value) > MAX_LABELS:
        raise ValueError(f"a job may have at most {MAX_LABELS} labels, and this one has {len(value)}")
    return value


Labels = Annotated[
    dict[LabelKey, LabelValue],
    BeforeValidator(_few),
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


def parse_filters(settings: CoordinatorSettings, filters: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the keys and values of `label=key:value` filters. Raises `ValidationFailed`, also for more than a job can have."""
    limit = min(max(1, settings.max_labels), MAX_FILTERS)
    if len(filters) > limit:
        raise ValidationFailed(
            "The request is not valid.",
            {"label": f"a list is filtered by at most {limit} labels, not {len(filters)}; remove some"},
        )
    pairs = [text.partition(":") for text in filters]
    if any(not colon or not key for key, colon, _ in pairs):
        raise ValidationFailed(
            "The request is not valid.", {"label": "write it as key:value, for example project:podcast"}
        )
    return tuple((key, value) for key, _, value in pairs)
