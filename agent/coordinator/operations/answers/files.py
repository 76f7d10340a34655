"""Answers about artifacts and uploads."""

from __future__ import annotations

from pydantic import Field

from agent.core.values import fields
from agent.core.values.fields import Answer


class Artifact(Answer):
    """A stored artifact; `size` is in bytes."""

    artifact_id: fields.ArtifactId
    size: int = Field(ge=0, examples=[1048576])
    media_type: str = Field(examples=["video/mp4"])


class ArtifactLink(Answer):
    """A signed link, relative to the API's address, and its expiry."""

    url: str = Field(
        examples=["/v1/artifacts/sha256:9f86...?expires=1704110400&type=video%2Fmp4&signature=..."]
    )
    expires_at: fields.Time


class Upload(Answer):
    """A resumable upload. `length` is null until the client states it, `artifact_id` until the file is stored."""

    upload_id: fields.UploadId
    offset: int = Field(ge=0, description="Bytes received", examples=[524288])
    length: int | None = Field(description="Size of the file in bytes", examples=[1048576])
    filename: str | None = Field(examples=["film.mkv"])
    artifact_id: fields.ArtifactId | None
    created_at: fields.Time
    expires_at: fields.Time
