"""Settings of the bucket."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import HomePath, Section


class BucketSettings(Section):
    """How the bucket of `artifacts.url` is reached, and by whom. These settings are in the table `artifacts`."""

    endpoint: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/?#@]+$",
            max_length=300,
            examples=["https://s3.eu-central-1.amazonaws.com"],
        ),
    ] = None
    """Address of the S3 service, which clients and miners must reach as well. None: that of Amazon in `region`."""
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", max_length=100)] = "us-east-1"
    """Region of the bucket. Many other services accept any."""
    path_style: bool | None = None
    """Whether the bucket is part of the path, not of the host name. None: only if `endpoint` is set, as most services on their own
    hosts need it."""
    credentials: Annotated[HomePath | None, Field(examples=["/run/secrets/s3/credentials"])] = None
    """File with the access key in the format of the AWS CLI (section `default`); it is read again when it changes. None: the
    environment variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary keys, AWS_SESSION_TOKEN."""
    direct: bool = True
    """Whether clients and miners exchange the bytes of large files with the bucket themselves, through signed URLs. Without, all bytes
    pass through the coordinator, and only it must reach the bucket."""
    url_seconds: Annotated[int, Field(ge=60, le=3600)] = 600
    """How long a signed URL can be used. A transfer that has begun may take longer, so ten minutes are enough for slow clocks."""
    max_whole: Annotated[Bytes, Field(le=5 * 2**30)] = Bytes("5Gi")
    """Maximum size of a file that is sent to the bucket in one request if the service checks SHA-256 itself. Larger files are sent
    in parts, which the coordinator reads once to check them. S3 allows at most 5 GiB."""


SETTINGS: Final = {"artifacts.*": BucketSettings}
