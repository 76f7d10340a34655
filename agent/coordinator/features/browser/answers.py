"""Answers about browsers' sessions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.accounts import Key
from aitbc.answers.fields import Answer


class BrowserSession(Answer):
    """A session, its keys without their secrets, and its expiry."""

    session_id: fields.SessionId
    created_at: fields.Time
    expires_at: fields.Time
    keys: Annotated[list[Key], Field(description="The keys with which the session acts")]
