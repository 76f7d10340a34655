"""Formats validation errors for answers."""

from __future__ import annotations

from pydantic import ValidationError


def field_errors(error: ValidationError, prefix: str = "") -> dict[str, str]:
    """Return one sentence for each dotted field with an error."""
    found: dict[str, str] = {}
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"]) or "body"
        found[f"{prefix}{path}"] = item["msg"].removeprefix("Value error, ")
    return found
