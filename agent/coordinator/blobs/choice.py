"""The choice of the store of blobs: a directory or a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from agent.coordinator.blobs.directory import UPLOADS, ArtifactDirectory
from agent.coordinator.blobs.growing_files import UploadDirectory
from agent.coordinator.blobs.store import BlobStore, UploadStore
from agent.settings import Settings

ARTIFACTS: Final = "coordinator/artifacts"


def directory_of(settings: Settings) -> Path | None:
    """Return the directory of the blobs, or None if they are in a bucket."""
    url = settings.artifacts.url
    if url is None:
        return settings.data_dir / ARTIFACTS
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def open_stores(settings: Settings) -> tuple[BlobStore, UploadStore]:
    """Return the stores that the settings name. Raises `ConfigurationError`."""
    limit, silence = int(settings.coordinator.max_artifact), settings.coordinator.upload_silence_seconds
    directory = directory_of(settings)
    if directory is not None:
        server = (settings.database.url or "").startswith("postgres")
        shared = server or settings.artifacts.url is not None
        blobs = ArtifactDirectory(directory, max_size=limit, shared=shared)
        return blobs, UploadDirectory(directory / UPLOADS, blobs, silence_seconds=silence)
    # The other store starts faster without them.
    from agent.coordinator.blobs.s3.bucket import Bucket  # noqa: PLC0415 - as above
    from agent.coordinator.blobs.s3.segments import S3Uploads  # noqa: PLC0415 - as above
    from agent.coordinator.blobs.s3.store import S3Blobs  # noqa: PLC0415 - as above

    bucket = S3Blobs(
        Bucket(settings.artifacts), max_size=limit, direct=settings.artifacts.direct,
        max_whole=int(settings.artifacts.max_whole),
    )  # fmt: skip
    return bucket, S3Uploads(bucket, silence_seconds=silence)
