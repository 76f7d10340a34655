"""Remembers between two runs of the command which job was made of which work, and which files it wrote.

One small file each in the platform's state directory, written in one step, readable by the user only. A work is known
by the SHA-256 of its inputs and parameters; so a changed file is new work, and a moved one is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import platformdirs

from aitbc._http.transfer import CHUNK


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a work.

    `body` is the job as it was, or was about to be, submitted in this `attempt`; `job_id` is known once the coordinator
    has answered. `places` are the outputs that were asked for and are complete: each with the files that it consists of.
    """

    attempt: int = 1
    body: dict[str, Any] | None = None
    job_id: str | None = None
    places: dict[str, list[str]] = field(default_factory=dict)

    def again(self) -> Note:
        """The note of the next attempt."""
        return Note(self.attempt + 1)

    def with_place(self, place: Path, files: list[Path]) -> Note:
        """The note with one more output that is complete."""
        return replace(self, places={**self.places, str(place): [str(file) for file in files]})

    @classmethod
    def of(cls, content: Any) -> Self | None:
        """The note in a file; None for what is none."""
        try:
            return cls(**content)
        except TypeError:
            return None


class Notebook:
    """The notes of this user, in `directory`."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or platformdirs.user_state_path("aitbc")

    def identity(self) -> str:
        """A random word that is this notebook's own.

        Keys are made with it, so that nobody else who does the same work for the same account shares a job, and cancels it.
        """
        path = self._directory / "identity"
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = secrets.token_hex(16)
        written = path.with_name(f".{made}.part")
        write_file(written, made.encode(), 0o600)
        with suppress(FileExistsError):  # another run of the command was quicker
            os.link(written, path)
        written.unlink()
        return path.read_text(encoding="utf-8")

    def note(self, key: str) -> Note | None:
        """What is known of a work."""
        return Note.of(self._read("work", key))

    def keep(self, key: str, note: Note) -> None:
        """Remember a note; it is on the disk when this returns."""
        self._write("work", key, asdict(note))

    def wrote(self, path: Path, key: str, sha256: str) -> None:
        """Remember that a work's output was written to a file."""
        self._write("files", _named(path), {"path": str(path.resolve()), "work": key, "sha256": sha256})

    def is_ours(self, path: Path) -> bool:
        """Whether this command wrote the file, and nobody has changed it since."""
        found = self._written(path)
        return found is not None and path.is_file() and found.get("sha256") == file_sha256(path)

    def is_output(self, path: Path) -> bool:
        """Whether this command wrote a file of this name."""
        return self._written(path) is not None

    def holds(self, path: Path, key: str, sha256: str) -> bool:
        """Whether the file is there already as this work made it."""
        found = self._written(path)
        same = found is not None and (found.get("work"), found.get("sha256")) == (key, sha256)
        return same and self.is_ours(path)

    def is_complete(self, key: str, note: Note, place: Path) -> bool:
        """Whether an output is there with all its files, and no other work wrote over one."""
        files = note.places.get(str(place))
        return files is not None and all(self._belongs(Path(file), key) for file in files)

    def _belongs(self, path: Path, key: str) -> bool:
        found = self._written(path)
        return path.exists() and found is not None and found.get("work") == key

    def _written(self, path: Path) -> dict[str, Any] | None:
        return self._read("files", _named(path))

    def _read(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads((self._directory / kind / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # A note that cannot be read is none: the work is done again under its first key, which makes no second job.
            return None
        return content if isinstance(content, dict) else None

    def _write(self, kind: str, name: str, content: dict[str, Any]) -> None:
        place = self._directory / kind
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(place / name, json.dumps(content).encode(), 0o600)


def write_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file in one step: whatever happens, it is there as a whole or not at all. The umask narrows `mode`."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _named(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()
