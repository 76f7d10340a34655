"""Answers about uploads."""

from __future__ import annotations

from pydantic import Field

from agent.core.values import fields
from agent.core.values.fields import Answer


class Upload(Answer):
    """A resumable upload. `length` is null until the client states it, `artifact_id` until the file is stored."""

    upload_id: fields.UploadId
    offset: int = Field(ge=0, description="Bytes received", examples=[524288])
    length: int | None = Field(description="Size of the file in bytes", examples=[1048576])
    filename: str | None = Field(examples=["film.mkv"])
    artifact_id: fields.ArtifactId | None
    created_at: fields.Time
    expires_at: fields.Time
