"""Answers about artifacts."""

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
