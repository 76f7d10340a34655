"""The directory of blobs that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.core.errors import ConfigurationError
from agent.settings import Settings

ARTIFACTS: Final = "coordinator/artifacts"


def directory_of(settings: Settings) -> Path | None:
    """Return the directory of the blobs, or None if they are elsewhere."""
    url = settings.artifacts.url
    if url is None:
        return settings.data_dir / ARTIFACTS
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def open_directory(settings: Settings) -> ArtifactDirectory:
    """Return the store in the directory that the settings name. Raises `ConfigurationError` if they name no directory."""
    directory = directory_of(settings)
    if directory is None:
        raise ConfigurationError(
            f"This coordinator cannot store files in {settings.artifacts.url}. Correct `artifacts.url`."
        )
    shared = settings.database.on_postgres or settings.artifacts.url is not None
    return ArtifactDirectory(directory, max_size=int(settings.coordinator.max_artifact), shared=shared)
