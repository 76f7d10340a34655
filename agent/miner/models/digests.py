"""The digests of weight files, which go into signed receipts; hashing gigabytes takes seconds, so they are remembered."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

_Known = dict[str, list[int | str]]
"""By path: size, time of change in nanoseconds, hex SHA-256."""

_log = structlog.get_logger(__name__)


class DigestCache:
    """Digests of files by path, size and time of change, kept in a JSON file. May be called from any thread.

    Several agents may share the file: each replaces it whole, and what one of them forgets is only hashed again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def of(self, paths: Sequence[Path]) -> list[str]:
        """The hex SHA-256 of each file; blocking, seconds for files not seen before. Raises `OSError`."""
        found = self.known(paths)
        if None not in found:  # also while another thread hashes other files
            return [digest for digest in found if digest is not None]
        with self._lock:  # two jobs that start together must not hash the same gigabytes twice
            digests: list[str] = []
            fresh: _Known = {}
            for path, digest in zip(paths, self.known(paths), strict=True):
                digests.append(_hash(path.resolve(), fresh) if digest is None else digest)
            self._save({**self._load(), **fresh})
            return digests

    def known(self, paths: Sequence[Path]) -> list[str | None]:
        """The same without hashing: None for files that have changed or are new. Raises `OSError`."""
        entries = self._load()
        return [_look_up(entries, path.resolve()) for path in paths]

    def remember(self, digests: Mapping[Path, str]) -> None:
        """Take note of digests that somebody else has just computed. Raises `OSError`."""
        fresh: _Known = {
            str(resolved): [*_state(resolved), digest]
            for path, digest in digests.items()
            if (resolved := path.resolve()).is_file()
        }
        with self._lock:
            self._save({**self._load(), **fresh})

    def _load(self) -> _Known:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {path: entry for path, entry in content.items() if _is_entry(entry)}

    def _save(self, entries: _Known) -> None:
        present = {path: entry for path, entry in entries.items() if Path(path).exists()}
        try:
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, prefix=f"{self._path.name}.", delete=False
            ) as file:
                json.dump(present, file)
            Path(file.name).replace(self._path)
        except OSError as error:  # e.g. a shared directory that only an administrator may write
            _log.warning("digest_cache_not_saved", path=str(self._path), error=str(error))


def _hash(path: Path, fresh: _Known) -> str:
    state = _state(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _state(path) == state:  # else it changed meanwhile, and the next caller shall look again
        fresh[str(path)] = [*state, digest]
    return digest


def _look_up(entries: _Known, path: Path) -> str | None:
    entry = entries.get(str(path))
    return str(entry[2]) if entry is not None and entry[:2] == _state(path) else None


def _state(path: Path) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_entry(value: object) -> bool:
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str]
