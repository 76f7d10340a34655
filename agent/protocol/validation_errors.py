"""Validation errors as answers name them."""

from __future__ import annotations

from pydantic import ValidationError


def field_errors(error: ValidationError, prefix: str = "") -> dict[str, str]:
    """Pydantic's errors as one sentence by dotted field."""
    faults: dict[str, str] = {}
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"]) or "body"
        faults[f"{prefix}{place}"] = fault["msg"].removeprefix("Value error, ")
    return faults
