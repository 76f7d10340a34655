"""File contents: sources for uploads, and a sink that writes, resumes and verifies a download."""

from __future__ import annotations

import hashlib
import io
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from aitbc.errors import TransportError, VerificationError

CHUNK = 256 * 1024
"""Bytes that are read or written at a time."""

DEFAULT_MEDIA_TYPE = "application/octet-stream"
_PARTIAL = 206
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/(?:[0-9]+|\*)")

Uploadable: TypeAlias = str | Path | bytes | BinaryIO
"""Content to upload: a path, bytes, or a file opened in binary mode."""

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of bytes sent and the total, which is None if it is unknown."""


class Source:
    """The body of an upload. It hashes the content so that the coordinator's response can be checked.

    `size` is in bytes, or None if it is unknown. `repeatable` means that the content can be read again.
    """

    def __init__(self, content: Uploadable, progress: Progress | None = None) -> None:
        self._path = Path(content) if isinstance(content, (str, Path)) else None
        self._file: BinaryIO | None = None
        self._start = 0
        if isinstance(content, bytes):
            self._file = io.BytesIO(content)
        # The caller's own file: it is read from where it stands, and stays open.
        elif not isinstance(content, (str, Path)):
            self._file = content
        self.repeatable = self._file is None or self._file.seekable()
        self.size = self._measure()
        self._progress = progress
        self._from, self._limit = 0, self.size
        self._position = 0
        self._digest = hashlib.sha256()
        self._hashed = 0

    def _measure(self) -> int | None:
        if self._path is not None:
            return self._path.stat().st_size
        if self._file is None or not self.repeatable:
            return None
        # The caller may have read a header already, which is not part of the upload.
        self._start = self._file.tell()
        size = self._file.seek(0, io.SEEK_END) - self._start
        self._file.seek(self._start)
        return size

    @property
    def name(self) -> str:
        """The file's name, or "" if it has none."""
        if self._path is not None:
            return self._path.name
        name = getattr(self._file, "name", "")
        return Path(name).name if isinstance(name, str) else ""

    @property
    def media_type(self) -> str:
        """The media type that follows from the name."""
        return mimetypes.guess_type(self.name)[0] or DEFAULT_MEDIA_TYPE

    @property
    def sha256(self) -> str:
        """The SHA-256, in hex, of the content read so far, from its beginning. Bytes that were read twice count once."""
        return self._digest.hexdigest()

    @property
    def length(self) -> int | None:
        """The number of bytes that `chunks` yields, or None if it is unknown."""
        return None if self.size is None or self._limit is None else min(self._limit, self.size - self._from)

    def read_through(self) -> None:
        """Read the content once, for its SHA-256."""
        self._from, self._limit = 0, self.size
        for _ in self.chunks():
            pass

    def part(self, start: int, limit: int) -> None:
        """Make `chunks` yield at most `limit` bytes from `start`. The bytes before `start` must have been read."""
        self._from, self._limit = start, limit

    def chunks(self) -> Iterator[bytes]:
        """Yield the content, or the part that was set last."""
        # From the beginning again, as after a broken connection: the digest starts over with it.
        if self._from == 0:
            self._digest, self._hashed = hashlib.sha256(), 0
        if self._path is not None:
            # Opened for each attempt: a file of the user must not stay open between two of them.
            with self._path.open("rb") as file:
                file.seek(self._from)
                yield from self._read(file)
        elif self._file is not None:
            if self.repeatable:
                self._file.seek(self._start + self._from)
            yield from self._read(self._file)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        self._position, remaining = self._from, self.length
        while chunk := file.read(CHUNK if remaining is None else min(CHUNK, remaining)):
            # A resumed part may overlap what was hashed before, and each byte counts once.
            self._digest.update(memoryview(chunk)[max(0, self._hashed - self._position) :])
            self._position += len(chunk)
            self._hashed = max(self._hashed, self._position)
            remaining = None if remaining is None else remaining - len(chunk)
            yield chunk

    def report(self) -> None:
        """Call the progress function with the number of bytes read, which is about the number sent."""
        if self._progress is not None:
            self._progress(self._position, self.size)


class ResponseSink(Protocol):
    """Receives the body of a successful response."""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Accept the status and headers of a successful response, before its body."""

    def write(self, chunk: bytes) -> None:
        """Accept a piece of the body."""


class FileSink:
    """Writes a download to `<target>.part`, resumes an interrupted one, and renames the file at the end.

    `size` is the number of bytes on disk.
    """

    def __init__(self, target: Path, sha256: str) -> None:
        self.target = target
        self.size = 0
        self._sha256 = sha256
        self._part = target.with_name(target.name + ".part")
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Open the partial file and hash its content."""
        # Appending keeps what an earlier run received, and `+` lets the digest read it.
        self._file = self._part.open("a+b")
        self._file.seek(0)
        # The digest covers the whole file, also the part that an earlier run received.
        while chunk := self._file.read(CHUNK):
            self._digest.update(chunk)
        self.size = self._file.tell()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Accept a partial response that continues the file. Start over for a complete response."""
        # A server that ignores the requested range sends the whole file.
        if status != _PARTIAL:
            self.restart()
            return
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        # Appending another range would give a file of the right length with the wrong bytes.
        if match is None or int(match[1]) != self.size:
            raise TransportError("The coordinator sent a different range of the file than requested.")

    def restart(self) -> None:
        """Discard the received bytes."""
        # In append mode, the next write begins at the new end: 0.
        self._opened().truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append a piece to the file."""
        self._opened().write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    @property
    def complete(self) -> bool:
        """Whether the received bytes match the digest."""
        return self._digest.hexdigest() == self._sha256

    def finish(self) -> None:
        """Rename the file to its target. Raises `VerificationError` and discards the bytes if the digest differs."""
        if not self.complete:
            self.restart()
            raise VerificationError(
                f"The received file {self.target.name} is corrupt: its SHA-256 is not {self._sha256}."
            )
        # Windows renames no file that is open.
        self._opened().close()
        self._file = None
        self._part.replace(self.target)

    def close(self) -> None:
        """Close the partial file. It remains for a later download to resume, unless it is empty."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if self.size == 0:
            self._part.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("The download is not open.")
        return self._file
