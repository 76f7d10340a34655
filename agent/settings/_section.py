"""The base class of all sections of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

HIDDEN: Final = "hidden"
"""`Field(json_schema_extra={HIDDEN: True})` marks a setting whose value is never shown."""


HomePath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path that may begin with `~`, the user's home directory."""


class Section(BaseModel, defer_build=True):
    """A frozen model; an unknown key is an error. The docstring of a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
