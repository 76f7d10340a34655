"""Sealed files: chunks of 64 KiB under one key, each numbered, the last one marked. docs/reference/sealed-jobs.md fixes the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from aitbc.errors import VerificationError
from aitbc.sealing.suite import decrypt, encrypt


class Readable(Protocol):
    """A file that can be read."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


CHUNK: Final = 65_536
TAG: Final = 16


def sealed_size(size: int) -> int:
    """Return the bytes of the sealed form of a file of `size` bytes."""
    return size + TAG * max(1, -(-size // CHUNK))


def seal_file(key: bytes, source: Readable) -> Iterator[bytes]:
    """Yield the sealed chunks of a file, from its current position."""
    number, chunk = 0, _read(source, CHUNK)
    while True:
        # One chunk ahead, because the last one is marked in its nonce.
        following = _read(source, CHUNK) if len(chunk) == CHUNK else b""
        yield encrypt(key, chunk, _nonce(number, last=not following))
        if not following:
            return
        number, chunk = number + 1, following


def open_file(key: bytes, source: Readable) -> Iterator[bytes]:
    """Yield the plaintext of a sealed file, chunk by chunk.

    Raises `VerificationError` for a chunk that is changed, missing, moved or repeated. The plaintext is complete only when the
    iterator has ended without an error.
    """
    number, sealed = 0, _read(source, CHUNK + TAG)
    while True:
        following = _read(source, CHUNK + TAG)
        chunk = decrypt(key, sealed, _nonce(number, last=not following))
        # An empty chunk is the form of an empty file only; elsewhere it would be a second form of the same file.
        if number and not chunk:
            raise VerificationError("A sealed file ends with an empty chunk.")
        yield chunk
        if not following:
            return
        number, sealed = number + 1, following


def _nonce(number: int, *, last: bool) -> bytes:
    # The mark makes a file that was cut at the end of a chunk fail to open.
    return number.to_bytes(11, "big") + bytes([last])


def _read(source: Readable, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end."""
    data = source.read(size)
    # Pipes and sockets return what is there, and chunks must have their exact size.
    while len(data) < size and (piece := source.read(size - len(data))):
        data += piece
    return data
