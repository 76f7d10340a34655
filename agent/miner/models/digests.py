"""A cache of the digests of weight files, which go into signed receipts: hashing gigabytes takes seconds."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

_Known = dict[str, list[int | str]]
"""By path: size, modification time in nanoseconds, hex SHA-256."""

_log = structlog.get_logger(__name__)


class DigestCache:
    """Digests of files by path, size and modification time, saved in a JSON file. May be called from any thread.

    Several agents may share the file: each replaces it as a whole, and a lost entry only means that a file is hashed again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def of(self, paths: Sequence[Path]) -> list[str]:
        """Return the hex SHA-256 of each file. Blocking: takes seconds for new files. Raises `OSError`."""
        digest_by_path = self.known(paths)
        # Returns immediately, even while another thread hashes files.
        if None not in digest_by_path:
            return [digest for digest in digest_by_path if digest is not None]
        # So that two jobs that start together hash the same gigabytes once.
        with self._lock:
            digests: list[str] = []
            fresh: _Known = {}
            for path, digest in zip(paths, self.known(paths), strict=True):
                digests.append(_hash(path.resolve(), fresh) if digest is None else digest)
            self._save({**self._load(), **fresh})
            return digests

    def known(self, paths: Sequence[Path]) -> list[str | None]:
        """Return the cached digests, None for files that have changed or are new. Raises `OSError`."""
        entries = self._load()
        return [_look_up(entries, path.resolve()) for path in paths]

    def add(self, digests: Mapping[Path, str]) -> None:
        """Add digests that the caller has just computed. Raises `OSError`."""
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
        # Models come and go, and the file would otherwise grow with every one.
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
    # Else it has changed meanwhile, and must be hashed again.
    if _state(path) == state:
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
