"""A client's state for sealed jobs: its key pair, its memory of what it sealed, and how to open what it has been given."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from aitbc.canonical import b64encode
from aitbc.errors import VerificationError
from aitbc.sealing.answer import EVENT_KIND, AnswerOpener, JobOfRequest
from aitbc.sealing.files import open_file
from aitbc.sealing.keys import ReplyKey
from aitbc.sealing.memory import DIRECTORY, SealedRequest, SealingMemory
from aitbc.sealing.store import load_reply_key

T = TypeVar("T")

_LOG_GREW: Final = frozenset({"job_id", "kind", "lines"})
"""The fields of the coordinator's event `log`."""
_LOST: Final = frozenset({"job_id", "kind", "reason"})
"""The fields of the coordinator's event `resync`."""

MAX_CACHED: Final = 10_000
"""Jobs, and files, after which the oldest are forgotten. They are looked up again."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """How to open an output file: its key, and the size and the hex SHA-256 of its plaintext."""

    key: bytes = field(repr=False)
    size: int
    sha256: str


class SealingState:
    """The key pair in the file `path`, read or created when it is first needed, and the memory beside it.

    `openers` are those of jobs in the memory and `unconfirmed` those of other jobs, as the coordinator describes them, by job id; `files`
    open output files by artifact id.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.memory = SealingMemory(path.parent / DIRECTORY)
        self.openers: dict[str, AnswerOpener] = {}
        self.unconfirmed: dict[str, AnswerOpener] = {}
        self.files: dict[str, SealedFile] = {}
        self._reply_key: ReplyKey | None = None

    def reply_key(self) -> ReplyKey:
        """Return the key pair. Raises `ConfigurationError`."""
        if self._reply_key is None:
            self._reply_key = load_reply_key(self.path)
        return self._reply_key

    def opener(self, job_id: str) -> AnswerOpener | None:
        """Return what opens the answer to a job that this client sealed, None for a job that it does not remember.

        Raises `VerificationError` if the job was sealed with another key, `ConfigurationError` if key or memory cannot be read.
        """
        # An opener remembers what it has seen of the job, to notice what is repeated or exchanged; a new one would not.
        opener = self.openers.get(job_id)
        if opener is None and (request := self.memory.get(job_id)) is not None:
            opener = self.new_opener(job_id, request)
            cache(self.openers, job_id, opener)
        return opener

    def new_opener(self, job_id: str, request: SealedRequest) -> AnswerOpener:
        """Return what opens the answers to a request in a job. Raises `VerificationError` if it was sealed with another key."""
        reply_key = self.reply_key()
        # Without this check, decryption would fail with a message that blames the coordinator.
        if request.reply_key != b64encode(reply_key.public):
            raise VerificationError(
                f"Job {job_id} was sealed with another key than the one in {self.path}, so only the holder of that key can open it. "
                "Use the machine, or the AITBC_CONFIG_DIR, from which it was submitted."
            )
        return AnswerOpener(reply_key, JobOfRequest(job_id, request.miner_id, request.request_id))


def require_sealed(kind: str, data: Mapping[str, Any]) -> None:
    """Raise `VerificationError` for an event in clear with content, of a job that this client sealed.

    Besides changes of state, which are no concern of this function, the coordinator sends the number of new lines in the log, and that
    events were lost.
    """
    is_count = kind == "log" and data.keys() <= _LOG_GREW and isinstance(data.get("lines"), int)
    is_gap = kind == "resync" and data.keys() <= _LOST
    if kind != EVENT_KIND and not is_count and not is_gap:
        raise VerificationError(
            "The coordinator sent an event in clear of a job that was sealed. Do not trust it, nor what comes after it."
        )


def cache(entries: dict[str, T], key: str, value: T) -> None:
    """Add an entry, and forget the oldest if there are too many."""
    entries[key] = value
    # A dictionary keeps the order of insertion, so its first key is the oldest.
    while len(entries) > MAX_CACHED:
        del entries[next(iter(entries))]


def decrypt(files: Mapping[str, SealedFile], artifact_id: str, content: bytes) -> bytes:
    """Return the plaintext of a downloaded artifact that is a sealed file of results that this client has opened, else the content."""
    file = files.get(artifact_id)
    if file is None:
        return content
    plaintext = b"".join(open_file(file.key, io.BytesIO(content)))
    # Decryption proves that the miner sealed these bytes for this job, the digest that they are this file of it.
    _check(file, hashlib.sha256(plaintext).hexdigest(), len(plaintext))
    return plaintext


def decrypt_file(files: Mapping[str, SealedFile], artifact_id: str, path: Path) -> None:
    """Replace a downloaded file with its plaintext, if it is a sealed one. Raises `VerificationError`, and leaves no file. Blocking."""
    sealed_file = files.get(artifact_id)
    if sealed_file is None:
        return
    # Beside the target, because a rename across file systems is not atomic.
    opened = path.with_name(f"{path.name}.opened")
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as sealed, opened.open("wb") as file:
            for chunk in open_file(sealed_file.key, sealed):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        # Before the rename: a file under its final name is always a verified one.
        _check(sealed_file, digest.hexdigest(), size)
        opened.replace(path)
    except VerificationError:
        # The ciphertext would look like a result, and is not one.
        path.unlink(missing_ok=True)
        raise
    finally:
        opened.unlink(missing_ok=True)


def _check(file: SealedFile, sha256: str, size: int) -> None:
    if (sha256, size) != (file.sha256, file.size):
        raise VerificationError("The opened file is not the one that the miner described.")
