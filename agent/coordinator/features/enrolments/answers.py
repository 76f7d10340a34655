"""Answers about enrolment tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agent.core.values import fields
from agent.core.values.fields import Answer

EnrolmentStatus = Literal["valid", "used", "expired", "revoked"]


class NewEnrolment(Answer):
    """A new enrolment token."""

    enrolment_id: fields.EnrolmentId
    enrolment_token: str = Field(examples=["enrol_secret"])
    uses: int = Field(examples=[1])
    expires_at: fields.Time


class EnrolledMiner(Answer):
    """A miner that has enrolled with a token."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])


class Enrolment(Answer):
    """An enrolment token without its secret.

    `created_by` is the administrator's key that created it, null if the agent did for its own miner; `miners` enrolled with it last.
    """

    enrolment_id: fields.EnrolmentId
    status: EnrolmentStatus
    note: str = Field(examples=["the new rack"])
    owner: str | None = Field(
        description="Whose miners join with it; they form one fleet", examples=["alice"]
    )
    uses: int = Field(description="Number of miners that could join with it", examples=[1])
    uses_left: int = Field(examples=[0])
    created_at: fields.Time
    created_by: fields.KeyId | None
    created_by_name: str | None = Field(examples=["operations"])
    expires_at: fields.Time
    used_at: fields.Time | None = Field(description="When a miner last enrolled with it")
    revoked_at: fields.Time | None = Field(examples=[None])
    miners: list[EnrolledMiner]


class EnrolmentPage(Answer):
    """Enrolment tokens, newest first. If there are more, `next` is the value of `before` for the next page."""

    enrolments: list[Enrolment]
    next: str | None = Field(default=None, examples=[None])
