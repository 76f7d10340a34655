"""Groups of options, and the options that fill the fields of a request."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from aitbc._http.flow import present


@dataclass(frozen=True)
class Options:
    """A group of options, one for each field. See `options.with_options`."""


@dataclass(frozen=True)
class FieldOptions(Options):
    """Options for fields of a job's body. Messages about the fields name the options."""


@dataclass(frozen=True)
class Parameters(FieldOptions):
    """Options that have the names of their fields."""

    @property
    def body(self) -> dict[str, Any]:
        """The fields that were given. The service's defaults apply to the others."""
        return present({field.name: getattr(self, field.name) for field in fields(self)})


_OPTION_OF = {
    "pricing.max_cost": "--max-cost", "timeout_seconds": "--timeout", "miner_id": "--miner", "offer_id": "--offer", "labels": "--label",
    "bid_price": "--bid", "job_type": "--type", "resolution_x": "--resolution", "resolution_y": "--resolution",
    "resources.cpu": "--cpu", "resources.memory": "--memory", "resources.gpu": "--gpu",
    "model.entrypoint": "--entrypoint", "model.requirements": "--requirements", "model.deterministic": "--deterministic",
    "model": "--model", "dimensions": "--dimensions", "input": "TEXT", "output_format": "the output's format",
    "max_tokens": "--max-tokens", "temperature": "--temperature", "system": "--system",
    "webhook_url": "--webhook",
}  # fmt: skip
"""Options whose names differ from those of the fields that they fill, or that belong to no group."""


def option_of(field: str) -> str:
    """Return the option that fills a field of a request, or the field itself if there is none."""
    if field in _OPTION_OF:
        return _OPTION_OF[field]
    name = field.removeprefix("parameters.")
    groups: list[type[Options]] = [*FieldOptions.__subclasses__(), *Parameters.__subclasses__()]
    options = {option.name for group in groups for option in fields(group)}
    return f"--{name.replace('_', '-')}" if name in options else name


_FIELD_IN_TEXT = re.compile(
    r"\b(?:pricing\.max_cost|max_cost|timeout_seconds|miner_id|offer_id|min_reputation|resources\.(?:cpu|memory|gpu)|parameters\.\w+)\b"
)


def with_options_named(text: str) -> str:
    """Return a message of the coordinator with the command's options in place of the request's fields."""
    return _FIELD_IN_TEXT.sub(lambda match: option_of(match[0]), text)
