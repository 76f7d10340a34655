"""Records which job belongs to which work and which files it wrote, so that a repeated command resumes.

Each record is a small file in the platform's state directory, written atomically and readable only by the user. The key of a work
is the SHA-256 of its inputs and parameters, so a changed file is new work and a moved file is not.
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

from aitbc.sealing.private_files import create_private


@dataclass(frozen=True, slots=True)
class Entry:
    """The record of one work.

    `body` is the job as it was, or was about to be, submitted in this `attempt`. `job_id` is set once the coordinator has
    responded. `targets` maps each complete output to its files.
    """

    attempt: int = 1
    body: dict[str, Any] | None = None
    job_id: str | None = None
    targets: dict[str, list[str]] = field(default_factory=dict)

    def next_attempt(self) -> Entry:
        """Return the entry of the next attempt."""
        return Entry(self.attempt + 1)

    def with_target(self, target: Path, files: list[Path]) -> Entry:
        """Return the entry with one more complete output."""
        return replace(self, targets={**self.targets, str(target): [str(file) for file in files]})

    @classmethod
    def of(cls, content: Any) -> Self | None:
        """Return the entry in a file's content, or None if it is malformed."""
        try:
            return cls(**content)
        except TypeError:
            return None


class Journal:
    """The records of this user, in `directory`."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or platformdirs.user_state_path("aitbc")

    def identity(self) -> str:
        """Return the random id of this journal.

        It is part of every idempotency key, so that two users of an account who do the same work do not share (and cancel) a job.
        """
        path = self._directory / "identity"
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            # Another run of the command may be faster: all come to the same identity.
            with suppress(FileExistsError):
                create_private(path, secrets.token_hex(16))
        return path.read_text(encoding="utf-8")

    def entry(self, key: str) -> Entry | None:
        """Return the record of a work, or None."""
        return Entry.of(self._read("work", key))

    def save(self, key: str, entry: Entry) -> None:
        """Store a record durably."""
        self._write("work", key, asdict(entry))

    def wrote(self, path: Path, key: str, sha256: str) -> None:
        """Record that a work's output was written to a file."""
        self._write("files", _named(path), {"path": str(path.resolve()), "work": key, "sha256": sha256})

    def is_unchanged_output(self, path: Path) -> bool:
        """Return whether this command wrote the file and it has not changed since."""
        record = self._written(path)
        return record is not None and path.is_file() and record.get("sha256") == file_sha256(path)

    def is_output(self, path: Path) -> bool:
        """Return whether this command wrote a file at this path."""
        return self._written(path) is not None

    def holds(self, path: Path, key: str, sha256: str) -> bool:
        """Return whether the file exists exactly as this work wrote it."""
        record = self._written(path)
        # Two works may write the same path one after the other; only the record shows whose content it is.
        is_of_work = record is not None and (record.get("work"), record.get("sha256")) == (key, sha256)
        return is_of_work and self.is_unchanged_output(path)

    def is_complete(self, key: str, entry: Entry, target: Path) -> bool:
        """Return whether an output exists with all its files, and no other work has overwritten one of them."""
        files = entry.targets.get(str(target))
        return files is not None and all(self._belongs(Path(file), key) for file in files)

    def _belongs(self, path: Path, key: str) -> bool:
        record = self._written(path)
        return path.exists() and record is not None and record.get("work") == key

    def _written(self, path: Path) -> dict[str, Any] | None:
        return self._read("files", _named(path))

    def _read(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads((self._directory / kind / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Without a readable record, the work is done again under its first idempotency key, which creates no second job.
            return None
        return content if isinstance(content, dict) else None

    def _write(self, kind: str, name: str, content: dict[str, Any]) -> None:
        target = self._directory / kind
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(target / name, json.dumps(content).encode(), 0o600)


def write_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file atomically and durably. The umask narrows `mode`."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            # A record that a power cut removes would make the next run pay for the job again.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(path: Path) -> str:
    # A path can be longer than a file's name may be, and need not be valid Unicode.
    return hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()
