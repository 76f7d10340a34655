"""The options before the command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The coordinator and the key from the options before the command, if given."""

    base_url: str | None
    api_key: str | None
