"""Answers about direct uploads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agent.coordinator.operations.answers.files import Artifact
from agent.core.values import fields
from agent.core.values.fields import Answer


class DirectPart(Answer):
    """A request to the store: send these bytes of the file there, with these headers and without a key, within minutes."""

    number: int = Field(ge=1, examples=[1])
    offset: int = Field(ge=0, description="Where the part begins in the file, in bytes", examples=[0])
    size: int = Field(ge=0, description="Bytes of the part", examples=[16777216])
    method: str = Field(examples=["PUT"])
    url: str = Field(
        examples=["https://s3.example.org/artifacts/blobs/5f0c?partNumber=1&X-Amz-Signature=..."]
    )
    headers: dict[str, str] = Field(examples=[{}])


class DirectUpload(Answer):
    """An upload to the store. Send `parts`, then report their ETags, until `artifact` is there."""

    upload_id: fields.UploadId
    state: Literal["receiving", "checking", "stored"] = Field(
        description="`checking`: all parts are stored, and the digest is being checked",
        examples=["receiving"],
    )
    parts: list[DirectPart] = Field(description="The next requests; empty if no part is missing")
    missing: int = Field(ge=0, description="Number of parts that are not reported yet", examples=[4])
    artifact: Artifact | None
    expires_at: fields.Time


class DirectTransferOffer(Answer):
    """Whether clients may exchange the bytes of files with the store themselves."""

    direct: bool
    max_whole: int = Field(
        ge=0,
        description="Maximum size in bytes of a file that is sent in one request, which needs its SHA-256 in advance; 0 if the store "
        "does not check digests",
        examples=[5368709120],
    )
