"""Moves the bytes of files: sources that an upload reads, and a sink that a download writes, resumes and checks."""

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
"""Bytes moved at a time."""

DEFAULT_MEDIA_TYPE = "application/octet-stream"
_PARTIAL = 206
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/(?:[0-9]+|\*)")

Uploadable: TypeAlias = str | Path | bytes | BinaryIO
"""What can be uploaded: a path, bytes, or a file opened for reading bytes."""

Progress: TypeAlias = Callable[[int, int | None], None]
"""Is called with the bytes sent so far and the bytes in all (None when that is not known before)."""


class Source:
    """The body of an upload. It hashes what it reads, so that the coordinator's answer can be checked.

    `size` is in bytes, None when it is not known before; `repeatable` says whether it can be read again.
    """

    def __init__(self, content: Uploadable, progress: Progress | None = None) -> None:
        self._path = Path(content) if isinstance(content, (str, Path)) else None
        self._file: BinaryIO | None = None
        self._start = 0
        if isinstance(content, bytes):
            self._file = io.BytesIO(content)
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
        self._start = self._file.tell()
        size = self._file.seek(0, io.SEEK_END) - self._start
        self._file.seek(self._start)
        return size

    @property
    def name(self) -> str:
        """The file's name, or "" where it has none."""
        if self._path is not None:
            return self._path.name
        name = getattr(self._file, "name", "")
        return Path(name).name if isinstance(name, str) else ""

    @property
    def media_type(self) -> str:
        """The media type that the name suggests."""
        return mimetypes.guess_type(self.name)[0] or DEFAULT_MEDIA_TYPE

    @property
    def sha256(self) -> str:
        """The SHA-256, in hex, of what was read since the beginning was; what was read twice counts once."""
        return self._digest.hexdigest()

    @property
    def length(self) -> int | None:
        """How many bytes `chunks` will bring, None when that is not known before."""
        return None if self.size is None or self._limit is None else min(self._limit, self.size - self._from)

    def part(self, start: int, limit: int) -> None:
        """Have `chunks` bring at most `limit` bytes, from `start` on. What is before `start` has been read."""
        self._from, self._limit = start, limit

    def chunks(self) -> Iterator[bytes]:
        """The content, or the part of it that was asked for last."""
        if self._from == 0:
            self._digest, self._hashed = hashlib.sha256(), 0
        if self._path is not None:
            with self._path.open("rb") as file:
                file.seek(self._from)
                yield from self._read(file)
        elif self._file is not None:
            if self.repeatable:
                self._file.seek(self._start + self._from)
            yield from self._read(self._file)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        self._position, left = self._from, self.length
        while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
            self._digest.update(memoryview(chunk)[max(0, self._hashed - self._position) :])
            self._position += len(chunk)
            self._hashed = max(self._hashed, self._position)
            left = None if left is None else left - len(chunk)
            yield chunk

    def report(self) -> None:
        """Tell whoever wants to know how much was read, which is about what was sent."""
        if self._progress is not None:
            self._progress(self._position, self.size)


class Sink(Protocol):
    """Takes the body of a successful answer."""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Called with each successful answer, before its body."""

    def write(self, chunk: bytes) -> None:
        """Called with each piece of the body."""


class FileSink:
    """Writes a download to `<target>.part`, goes on where an earlier one stopped, and gives the file its name at last.

    `size` is the number of bytes on disk so far.
    """

    def __init__(self, target: Path, sha256: str) -> None:
        self.target = target
        self.size = 0
        self._sha256 = sha256
        self._part = target.with_name(target.name + ".part")
        self._digest = hashlib.sha256()
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Open the partial file and hash what it holds already."""
        self._file = self._part.open("a+b")
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._digest.update(chunk)
        self.size = self._file.tell()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take an answer that goes on where the file ends, or start again for one that brings the whole."""
        if status != _PARTIAL:
            self.restart()
            return
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if match is None or int(match[1]) != self.size:
            raise TransportError("The coordinator answered with another part of the file than was asked for.")

    def restart(self) -> None:
        """Drop what was received."""
        self._opened().truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append to the file."""
        self._opened().write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    @property
    def complete(self) -> bool:
        """Whether the bytes received are those of the digest."""
        return self._digest.hexdigest() == self._sha256

    def finish(self) -> None:
        """Give the file its name. Raises `VerificationError`, and drops what was received, when the digest differs."""
        if not self.complete:
            self.restart()
            raise VerificationError(
                f"The SHA-256 of what was received for {self.target.name} is not {self._sha256}."
            )
        self._opened().close()
        self._file = None
        self._part.replace(self.target)

    def close(self) -> None:
        """Close the partial file; it stays for a later download to go on with, unless it is empty."""
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
