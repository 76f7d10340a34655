"""The base class of all sections of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

HIDDEN: Final = "hidden"
"""`Field(json_schema_extra={HIDDEN: True})` marks a setting whose value is never shown."""


def _not_empty(value: object) -> object:
    """Refuse an empty path, which would be the current directory."""
    if isinstance(value, str) and not value.strip():
        raise ValueError(
            "must not be empty. Remove it to use the default, or write . for the current directory"
        )
    return value


HomePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(Path.expanduser)]
"""A path that may begin with `~`, the user's home directory."""


class Section(BaseModel, defer_build=True):
    """A frozen model; an unknown key is an error. The docstring of a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
