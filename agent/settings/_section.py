"""The base class of all sections of the settings."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

HIDDEN: Final = "hidden"
"""`Field(json_schema_extra={HIDDEN: True})` marks a setting whose value is never shown."""


class Section(BaseModel):
    """A frozen model; an unknown key is an error. The docstring of a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
