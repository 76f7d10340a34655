"""The models of this machine: where each lies, which are there, and which weights exactly.

A job names a model by its catalogue name and nothing else.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import rfc8785

from agent.core.machine.catalogue import CatalogueEntry
from agent.miner.models.digests import DigestCache
from runners.api import FailureCode, Model, Retry

_CACHE_FILE: Final = ".digests.json"


class ModelUnknown(Retry):
    """This miner's catalogue does not have the model; another miner's may."""

    default_code = FailureCode.MODEL_UNKNOWN


class ModelUnavailable(Retry):
    """The model is not on this machine and could not be brought here. The message says why."""

    default_code = FailureCode.MODEL_UNAVAILABLE


class ModelStore:
    """The directory of models, one directory per catalogue name. May be called from any thread."""

    def __init__(self, models_dir: Path, catalogue: Mapping[str, CatalogueEntry]) -> None:
        self.models_dir = models_dir
        self.catalogue = dict(catalogue)
        self.digests = DigestCache(models_dir / _CACHE_FILE)

    def entry(self, name: str) -> CatalogueEntry:
        """What the catalogue says of that name. Raises `ModelUnknown`, also for anything like a path."""
        try:
            return self.catalogue[name]
        except KeyError:
            raise ModelUnknown(
                f"The model {name!r} is not in this miner's catalogue; update the agent or add it."
            ) from None

    def resolve(self, name: str, kind: Literal["model", "adapter"] = "model") -> Model:
        """The model, or adapter, of that catalogue name, on disk or not. Raises `ModelUnknown`."""
        entry = self.entry(name)
        if entry.kind != kind:
            raise ModelUnknown(f"{name!r} is no {kind} in this miner's catalogue.")
        source = entry.repository or ""
        return Model(name=name, path=self.location(entry), source=source, options=entry.options)

    def location(self, entry: CatalogueEntry) -> Path:
        """The directory of a model, there or not."""
        return self.models_dir / entry.name if entry.path is None else Path(entry.path)

    def has(self, name: str) -> bool:
        """Whether the model is on disk, in whatever format."""
        entry = self.catalogue.get(name)
        return entry is not None and _has_files(self.location(entry))

    def is_complete(self, name: str) -> bool:
        """Whether fetching the model would bring nothing new: it may be there in the format of another engine only."""
        entry = self.catalogue.get(name)
        return self.has(name) and all(
            (self.models_dir / name / file.name).is_file() for file in (entry.files if entry else ())
        )

    def on_disk(self, service: str) -> list[str]:
        """The names of the service's models, adapters included, that are on disk, in the catalogue's order."""
        return [name for name, entry in self.catalogue.items() if entry.service == service and self.has(name)]

    def fetchable(self, service: str) -> bool:
        """Whether there is a model of the service that can be downloaded."""
        return any(entry.service == service and entry.fetchable for entry in self.catalogue.values())

    def digest(self, paths: Sequence[Path]) -> str:
        """The hex SHA-256 that names these weights; blocking, seconds for files not seen before.

        One file: the digest of its content. Several: that of the JCS bytes of the list of their digests. Raises
        `OSError` if one cannot be read, `ValueError` if there are none.
        """
        if not paths:
            raise ValueError("a model without weight files has no digest")
        return _name_weights(self.digests.of(paths))

    def known_digest(self, paths: Sequence[Path]) -> str | None:
        """The same at once, or None where a file would have to be hashed first."""
        known = [digest for digest in self.digests.known(paths) if digest is not None]
        return _name_weights(known) if known and len(known) == len(paths) else None


def _name_weights(digests: Sequence[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256(rfc8785.dumps(list(digests))).hexdigest()


def _has_files(directory: Path) -> bool:
    # Whoever puts a model here renames a finished directory, so one with a file in it is whole.
    try:
        return any(not entry.name.startswith(".") for entry in os.scandir(directory))
    except OSError:
        return False
