"""The models of this machine: where each lies, which are there, and which weights exactly.

A job names a model by its catalogue name and nothing else. The digests of weight files go into signed receipts, and
hashing gigabytes takes seconds, so they are remembered until a file changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import rfc8785
import structlog

from agent.configuration import load_catalogue
from agent.core.catalogue import CatalogueEntry
from runners._base import Model, Retry

_CACHE_FILE: Final = ".digests.json"
_log = structlog.get_logger(__name__)


class ModelUnknown(Retry):
    """This miner's catalogue does not have the model; another miner's may."""

    default_code = "MODEL_UNKNOWN"


class ModelStore:
    """The directory of models, one directory per catalogue name. May be called from any thread."""

    def __init__(self, models_dir: Path, catalogue: Mapping[str, CatalogueEntry] | None = None) -> None:
        self.models_dir = models_dir
        self.catalogue = load_catalogue() if catalogue is None else catalogue
        self._digests = _DigestCache(models_dir / _CACHE_FILE)

    def resolve(self, name: str) -> Model:
        """The model of that catalogue name, on disk or not. Raises `ModelUnknown`, also for anything like a path."""
        entry = self.catalogue.get(name)
        if entry is None:
            raise ModelUnknown(
                f"The model {name!r} is not in this miner's catalogue; update the agent or add it."
            )
        return Model(
            name=name, path=self.models_dir / name, source=entry.repository or "", options=entry.options
        )

    def on_disk(self, service: str) -> list[str]:
        """The names of the service's models that lie in the directory, in the catalogue's order."""
        return [
            name
            for name, entry in self.catalogue.items()
            if entry.service == service and self._is_there(name)
        ]

    def digest(self, paths: Sequence[Path]) -> str:
        """The hex SHA-256 that names these weights; blocking, seconds for files not seen before.

        One file: the digest of its content. Several: that of the JCS bytes of the list of their digests. Raises
        `OSError` if one cannot be read, `ValueError` if there are none.
        """
        if not paths:
            raise ValueError("a model without weight files has no digest")
        digests = [self._digests.of(path) for path in paths]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256(rfc8785.dumps(digests)).hexdigest()

    def _is_there(self, name: str) -> bool:
        # Whoever puts a model here renames a finished directory, so one with a file in it is whole.
        try:
            return any(not entry.name.startswith(".") for entry in os.scandir(self.models_dir / name))
        except OSError:
            return False


class _DigestCache:
    """Digests of files by path, size and time of change, kept in a JSON file.

    Several agents may share the file: each replaces it whole, and what one of them forgets is only hashed again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        path = path.resolve()
        with self._lock:  # two jobs that start together must not hash the same gigabytes twice
            known = self._load()
            state = _state(path)
            entry = known.get(str(path))
            if entry is not None and entry[:2] == state:
                return str(entry[2])
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if _state(path) == state:  # else it changed meanwhile, and the next caller shall look again
                self._save({**known, str(path): [*state, digest]})
            return digest

    def _load(self) -> dict[str, list[int | str]]:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {path: entry for path, entry in content.items() if _is_entry(entry)}

    def _save(self, entries: Mapping[str, list[int | str]]) -> None:
        present = {path: entry for path, entry in entries.items() if Path(path).exists()}
        try:
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, prefix=f"{_CACHE_FILE}.", delete=False
            ) as file:
                json.dump(present, file)
            Path(file.name).replace(self._path)
        except OSError as error:  # e.g. a shared directory that only an administrator may write
            _log.warning("digest_cache_not_saved", path=str(self._path), error=str(error))


def _state(path: Path) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_entry(value: object) -> bool:
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str]
