"""The models on this machine: where each is, whether it is complete, and the digest of its weights.

A job refers to a model by its catalogue name only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Literal

import rfc8785

from agent.catalogue import CatalogueEntry
from agent.miner.models.digests import DigestCache
from runners.api import FailureCode, Model, Retry

_CACHE_FILE: Final = ".digests.json"


class ModelUnknown(Retry):
    """The model is not in this miner's catalogue, but may be in another miner's."""

    default_code = FailureCode.MODEL_UNKNOWN


class ModelUnavailable(Retry):
    """The model is not on this machine and could not be fetched. The message states why."""

    default_code = FailureCode.MODEL_UNAVAILABLE


class SourceUnreachable(ModelUnavailable):
    """The server with the model's files cannot be reached, or does not send them. It may soon."""


def is_installed(engine: str) -> bool:
    """Return whether the distribution of this name is installed. Engines have the names of their distributions."""
    try:
        distribution(engine)
    except PackageNotFoundError:
        return False
    return True


class ModelStore:
    """The directory of models, one directory per catalogue name. May be called from any thread.

    A model that the catalogue has in several formats is fetched in that of its best engine here.
    """

    def __init__(
        self,
        models_dir: Path,
        catalogue: Mapping[str, CatalogueEntry],
        is_installed: Callable[[str], bool] = is_installed,
    ) -> None:
        self.models_dir = models_dir
        self._is_installed = is_installed
        self.catalogue = self._for_engines(catalogue)
        self.digests = DigestCache(models_dir / _CACHE_FILE)

    def replace(self, catalogue: Mapping[str, CatalogueEntry]) -> list[str]:
        """Replace the catalogue by another one, and return the names of former entries that have changed or are no longer in it."""
        entries = self._for_engines(catalogue)
        changed = [name for name, entry in self.catalogue.items() if entries.get(name) != entry]
        # In place, as other parts of the miner refer to the dictionary.
        self.catalogue.update(entries)
        for name in self.catalogue.keys() - entries.keys():
            del self.catalogue[name]
        return changed

    def _for_engines(self, catalogue: Mapping[str, CatalogueEntry]) -> dict[str, CatalogueEntry]:
        return {name: entry.for_engine(self._is_installed) for name, entry in catalogue.items()}

    def entry(self, name: str) -> CatalogueEntry:
        """Return the catalogue's entry of that name. Raises `ModelUnknown`, also for paths."""
        try:
            return self.catalogue[name]
        except KeyError:
            raise ModelUnknown(
                f"The model {name!r} is not in this miner's catalogue. Update the agent, or add the model."
            ) from None

    def resolve(self, name: str, kind: Literal["model", "adapter"] = "model") -> Model:
        """Return the model or adapter of that catalogue name, on disk or not. Raises `ModelUnknown`."""
        entry = self.entry(name)
        if entry.kind != kind:
            raise ModelUnknown(f"{name!r} is not a {kind} in this miner's catalogue.")
        source = entry.repository or ""
        return Model(
            name=name,
            path=self.location(entry),
            source=source,
            options=entry.options,
            engines=entry.engines,
            adapters=self._adapters_of(name),
        )

    def _adapters_of(self, name: str) -> dict[str, Path]:
        """Return the directories of the models on disk whose base is this one."""
        entries = list(self.catalogue.values())  # a copy, as the catalogue may be replaced meanwhile
        return {
            entry.name: self.location(entry)
            for entry in entries
            if entry.base == name and self.has(entry.name)
        }

    def location(self, entry: CatalogueEntry) -> Path:
        """Return the directory of a model, whether it exists or not."""
        return self.models_dir / entry.name if entry.path is None else Path(entry.path)

    def has(self, name: str) -> bool:
        """Whether the model is on disk, in any format."""
        entry = self.catalogue.get(name)
        return entry is not None and _has_files(self.location(entry))

    def is_complete(self, name: str) -> bool:
        """Whether all files of the model are on disk. It may be there in another engine's format only."""
        return self.has(name) and all(
            (self.models_dir / name / file).is_file() for file in self.catalogue[name].needed
        )

    def on_disk(self, service: str) -> list[str]:
        """Return the names of the service's models and adapters on disk, in the catalogue's order."""
        # A copy, as the catalogue may be replaced meanwhile.
        entries = list(self.catalogue.items())
        return [name for name, entry in entries if entry.service == service and self.has(name)]

    def fetchable(self, service: str) -> bool:
        """Whether there is a model of the service that can be downloaded."""
        entries = list(self.catalogue.values())  # as above
        return any(entry.service == service and entry.fetchable for entry in entries)

    def digest(self, paths: Sequence[Path]) -> str:
        """Return the hex SHA-256 that identifies these weights. Blocking: takes seconds for new files.

        For one file it is the digest of its content; for several, that of the JCS bytes of the list of their digests.
        Raises `OSError` if a file cannot be read, `ValueError` if there are none.
        """
        if not paths:
            raise ValueError("a model without weight files has no digest")
        return _combine(self.digests.of(paths))

    def weights_digest(self, name: str, paths: Sequence[Path]) -> str:
        """Return the `digest` of a model's weights. Blocking. Raises `Retry`."""
        try:
            return self.digest(paths)
        except (OSError, ValueError) as error:
            raise Retry(
                f"The weights of {name} cannot be read: {error}.", code=FailureCode.MODEL_FAULT
            ) from error

    def known_digest(self, paths: Sequence[Path]) -> str | None:
        """Return the cached digest of these weights, None if a file would have to be hashed first."""
        digests = [digest for digest in self.digests.known(paths) if digest is not None]
        return _combine(digests) if digests and len(digests) == len(paths) else None


def _combine(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256(rfc8785.dumps(list(digests))).hexdigest()


def _has_files(directory: Path) -> bool:
    # A model is put here by renaming its finished directory, so a directory with a file in it is complete.
    try:
        # A link to a file that its owner has moved counts as no file.
        return any(not entry.name.startswith(".") and Path(entry).exists() for entry in os.scandir(directory))
    except OSError:
        return False
