"""Answers about artifacts, and about their transfer to and from a store of files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.record import AnswerPart, Record


class Artifact(Record):
    """A stored artifact; `size` is in bytes."""

    needs = ("artifact_id", "size", "media_type")

    artifact_id: fields.ArtifactId
    size: int = Field(ge=0, examples=[1048576])
    media_type: str = Field(examples=["video/mp4"])

    @property
    def address(self) -> str:
        """The address of this file in a job's input."""
        return f"artifact:{self.artifact_id}"


class ArtifactUse(AnswerPart):
    """A job that a file belongs to: its `input` or its `output`."""

    job_id: fields.JobId
    direction: Literal["input", "output"] = Field(examples=["input"])


class StoredArtifact(Artifact):
    """A file of an account: an upload, or an output of its jobs. `jobs` are the newest 20 that use it, `job_count` is the number of all."""

    name: str | None = Field(
        description="The file's name: that of the upload, else that in a job", examples=["interview.mp3"]
    )
    created_at: fields.Time
    jobs: list[ArtifactUse]
    job_count: int = Field(ge=0, examples=[1])


class ArtifactList(Record):
    """One page of an account's files, newest first. `total` is the number of all, `stored_bytes` what counts towards the quota."""

    artifacts: list[StoredArtifact]
    total: int = Field(ge=0, examples=[1])
    stored_bytes: int = Field(ge=0, examples=[1048576])
    limit: int = Field(examples=[50])
    offset: int = Field(examples=[0])


class ArtifactLink(Record):
    """A signed link, relative to the API's address, and its expiry."""

    url: str = Field(
        examples=["/v1/artifacts/sha256:9f86...?expires=1704110400&type=video%2Fmp4&signature=..."]
    )
    expires_at: fields.Time


class DirectPart(Record):
    """A request to the store: send these bytes of the file there, with these headers and without a key, within minutes."""

    needs = ("number", "offset", "size", "method", "url", "headers")

    number: int = Field(ge=1, examples=[1])
    offset: int = Field(ge=0, description="Where the part begins in the file, in bytes", examples=[0])
    size: int = Field(ge=0, description="Bytes of the part", examples=[16777216])
    method: str = Field(examples=["PUT"])
    url: str = Field(
        examples=["https://s3.example.org/artifacts/blobs/5f0c?partNumber=1&X-Amz-Signature=..."]
    )
    headers: dict[str, str] = Field(examples=[{}])


class DirectUpload(Record):
    """An upload to the store. Send `parts`, then report their ETags, until `artifact` is there."""

    needs = ("upload_id", "parts", "missing")

    upload_id: fields.UploadId
    state: Literal["receiving", "checking", "stored"] = Field(
        description="`checking`: all parts are stored, and the digest is being checked",
        examples=["receiving"],
    )
    parts: list[DirectPart] = Field(description="The next requests; empty if no part is missing")
    missing: int = Field(ge=0, description="Number of parts that are not reported yet", examples=[4])
    artifact: Artifact | None
    expires_at: fields.Time


class DirectTransferOffer(Record):
    """Whether clients may exchange the bytes of files with the store themselves."""

    direct: bool
    max_whole: int = Field(
        ge=0,
        description="Maximum size in bytes of a file that is sent in one request, which needs its SHA-256 in advance; 0 if the store "
        "does not check digests",
        examples=[5368709120],
    )


class Upload(Record):
    """A resumable upload. `length` is null until the client states it, `artifact_id` until the file is stored."""

    upload_id: fields.UploadId
    offset: int = Field(ge=0, description="Bytes received", examples=[524288])
    length: int | None = Field(description="Size of the file in bytes", examples=[1048576])
    filename: str | None = Field(examples=["film.mkv"])
    artifact_id: fields.ArtifactId | None
    created_at: fields.Time
    expires_at: fields.Time
