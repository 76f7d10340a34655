"""The choice of the store of blobs: a directory or a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.blobs.store import BlobStore
from agent.settings import Settings

ARTIFACTS: Final = "coordinator/artifacts"


def directory_of(settings: Settings) -> Path | None:
    """Return the directory of the blobs, or None if they are in a bucket."""
    url = settings.artifacts.url
    if url is None:
        return settings.data_dir / ARTIFACTS
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def open_blobs(settings: Settings) -> BlobStore:
    """Return the store that the settings name. Raises `ConfigurationError`."""
    limit = int(settings.coordinator.max_artifact)
    directory = directory_of(settings)
    if directory is not None:
        server = (settings.database.url or "").startswith("postgres")
        shared = server or settings.artifacts.url is not None
        return ArtifactDirectory(directory, max_size=limit, shared=shared)
    # The other store starts faster without them.
    from agent.coordinator.blobs.s3.bucket import Bucket  # noqa: PLC0415 - as above
    from agent.coordinator.blobs.s3.store import S3Blobs  # noqa: PLC0415 - as above

    return S3Blobs(
        Bucket(settings.artifacts), max_size=limit, direct=settings.artifacts.direct,
        max_whole=int(settings.artifacts.max_whole),
    )  # fmt: skip
