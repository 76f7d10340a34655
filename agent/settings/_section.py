"""What all sections of the settings share."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

HIDDEN: Final = "hidden"
"""A setting that is never shown is marked by `Field(json_schema_extra={HIDDEN: True})`."""


class Section(BaseModel):
    """Frozen; an unknown key is an error. The text under a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
