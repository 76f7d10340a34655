"""Answers about what administrators have done."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.record import Record


class TrailEntry(Record):
    """A call of an administrator that changed something. `key_name` is the name that the key had then; `details` has the short fields of the request, without secrets."""

    entry_id: str = Field(examples=["trail_1234567890"])
    at: fields.Time
    key_id: fields.KeyId
    key_name: str = Field(examples=["local administrator"])
    action: str = Field(examples=["Credit an account"])
    method: str = Field(examples=["POST"])
    path: str = Field(examples=["/v1/admin/accounts/account_1234567890/credit"])
    details: dict[str, Any] = Field(examples=[{"amount": "10"}])


class TrailPage(Record):
    """Entries, newest first. `next` continues after the last one, as `before`."""

    entries: list[TrailEntry]
    next: str | None = None
