"""What labels add to a job's request, to the answers about it, and to the filters of lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field

from aitbc.answers.jobs import LabelledJob

MAX_VALUE: Final = 255
"""Characters of a value, as many as the database's column has."""
MAX_LABELS: Final = 1000
"""The highest value of the setting `max_labels`."""

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$", examples=["project"])]
LabelValue = Annotated[
    str, Field(max_length=MAX_VALUE, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", examples=["podcast"])
]


def _few(value: Any) -> Any:
    """Refuse more labels than any setting allows before each of them is checked."""
    if isinstance(value, Mapping) and len(value) > MAX_LABELS:
        raise ValueError(f"a job may have at most {MAX_LABELS} labels, and this one has {len(value)}")
    return value


class LabelOptions(BaseModel, defer_build=True):
    """The option of a job that gives it labels."""

    labels: Annotated[
        dict[LabelKey, LabelValue],
        BeforeValidator(_few),
        Field(
            description="Keys and values of your choice, by which lists can be filtered",
            examples=[{"project": "podcast", "episode": "12"}],
        ),
    ] = {}


class LabelledStatus(LabelledJob, defer_build=True):
    """The labels in an answer about a job."""


class LabelFilter(BaseModel, defer_build=True):
    """The filter of lists by labels."""

    label: list[str] = Field(
        default=[],
        description="Only jobs with this label, `key:value`; may be repeated, as often as a job may have labels",
        examples=[["project:podcast"]],
    )


FIELDS: Final = {"OptionFields": LabelOptions, "StatusFields": LabelledStatus, "FilterFields": LabelFilter}
