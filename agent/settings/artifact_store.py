"""Settings of the store of artifacts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.sections import Section, extensible


@extensible("artifacts")
class ArtifactSettings(Section):
    """Where the coordinator stores artifacts and uploads in progress: a directory, or a bucket of an S3 service (extra `s3`).

    Replicas of a coordinator use the same one.
    """

    url: Annotated[
        str | None,
        Field(
            pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()/-]*)?|file:///.+)$",
            max_length=500,
            examples=["s3://aitbc-artifacts/production"],
        ),
    ] = None
    """`s3://BUCKET` or `s3://BUCKET/PREFIX` for a bucket, `file:///PATH` for a directory that replicas share. None: a directory of
    this coordinator in the data directory."""
