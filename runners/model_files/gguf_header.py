"""Reads the header of a GGUF file: the model's description, and the bytes of its tensors.

The format is that of the specification "GGUF" in the project ggml.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The formats of `struct` by the numbers of GGUF's types."""
_STRING: Final = 8
_ARRAY: Final = 9
_MAX_ITEMS: Final = 4096
"""Longer arrays, such as vocabularies, are counted only."""
_MAX_ENTRIES: Final = 200_000
_MAX_SIDES: Final = 8
_SHARD: Final = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")


class InvalidGguf(ValueError):
    """The file is not a GGUF file, or is damaged. The message says so of the file."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor: `shape` with the longest stride last, ggml's number of its `type`, and its `size` in bytes with padding."""

    name: str
    shape: tuple[int, ...]
    type: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A header. `fields` are by key; of a long array, or one of texts, the value is the number of its items. `size` is the file's in bytes."""

    fields: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    size: int

    @property
    def architecture(self) -> str:
        """The name of the model's architecture, such as "llama"; empty if the file names none."""
        return str(self.fields.get("general.architecture", ""))

    def value(self, name: str, otherwise: Any = 0) -> Any:
        """Return a field of the architecture, such as "block_count"."""
        return self.fields.get(f"{self.architecture}.{name}", otherwise)


def is_gguf(file: Path) -> bool:
    """Return whether a file begins as GGUF files do. Its name does not matter."""
    try:
        with file.open("rb") as content:
            return content.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def shards(first: Path) -> tuple[Path, ...]:
    """Return all files of a model that is split into several, in order, given one of them; the file itself if it is whole.

    They may be missing on the disk.
    """
    return tuple(first.with_name(name) for name in shards_of_name(first.name))


def shards_of_name(name: str) -> tuple[str, ...]:
    """Return the names of all files of a model, given that of one, which may be a path."""
    match = _SHARD.match(name)
    if match is None:
        return (name,)
    count = int(match["count"])
    return tuple(f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))


def is_later_shard(name: str) -> bool:
    """Return whether a file of this name continues another one."""
    match = _SHARD.match(name)
    return match is not None and int(match["number"]) != 1


def read_header(file: Path) -> GgufHeader:
    """Read a header. Raises `OSError`, `InvalidGguf`."""
    with file.open("rb") as content:
        size = file.stat().st_size
        if content.read(len(MAGIC)) != MAGIC:
            raise InvalidGguf(f"{file} is not a GGUF file.")
        with mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            try:
                return _HeaderReader(mapped).header(size)
            except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
                raise InvalidGguf(f"{file} is damaged or incomplete ({error}).") from None
            except InvalidGguf as error:
                raise InvalidGguf(f"{file} {error}.") from None


class _HeaderReader:
    """Reads values one after the other, from behind the magic number."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._at = len(MAGIC)

    def header(self, size: int) -> GgufHeader:
        version = self._number("I")
        if version not in _VERSIONS:
            raise InvalidGguf(f"has version {version} of the format, which cannot be read")
        tensor_count, field_count = self._number("Q"), self._number("Q")
        if max(tensor_count, field_count) > _MAX_ENTRIES:
            raise InvalidGguf("is damaged: it claims to have more tensors or fields than any model")
        fields = dict(self._field() for _ in range(field_count))
        described = [self._described() for _ in range(tensor_count)]
        alignment = int(fields.get("general.alignment", 32)) or 32
        begin = -(-self._at // alignment) * alignment
        order = sorted(range(tensor_count), key=lambda index: described[index][3])
        # The next tensor's offset, so that no table of ggml's growing list of types is needed.
        ends = [described[index][3] for index in order[1:]] + [size - begin]
        sizes = {
            index: max(0, end - described[index][3]) for index, end in zip(order, ends, strict=True)
        } if order else {}  # fmt: skip
        if sizes and sizes[order[-1]] == 0:
            raise InvalidGguf("is incomplete; download or copy it again")
        tensors = tuple(
            GgufTensor(name, shape, kind, sizes[index])
            for index, (name, shape, kind, _) in enumerate(described)
        )
        return GgufHeader(fields, tensors, size)

    def _field(self) -> tuple[str, Any]:
        key = self._text()
        return key, self._value(self._number("I"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._number(_format(kind))
        item, count = self._number("I"), self._number("Q")
        if item == _STRING:
            for _ in range(count):
                self._skip(self._number("Q"))
            return count
        begin, width = self._at, struct.calcsize(_format(item))
        self._skip(count * width)
        if count > _MAX_ITEMS:
            return count
        return list(struct.unpack_from(f"<{count}{_format(item)}", self._mapped, begin))

    def _described(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text()
        sides = self._number("I")
        if sides > _MAX_SIDES:
            raise InvalidGguf("is damaged: it has a tensor with more dimensions than any model")
        shape = tuple(self._number("Q") for _ in range(sides))
        return name, shape, self._number("I"), self._number("Q")

    def _number(self, form: str) -> Any:
        (number,) = struct.unpack_from(f"<{form}", self._mapped, self._at)
        self._at += struct.calcsize(f"<{form}")
        return number

    def _text(self) -> str:
        length = self._number("Q")
        begin = self._at
        self._skip(length)
        return self._mapped[begin : self._at].decode("utf-8")

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._mapped):
            raise InvalidGguf("is incomplete; download or copy it again")


def _format(kind: int) -> str:
    if kind not in _NUMBERS:
        raise InvalidGguf(f"has a field of the unknown type {kind}")
    return _NUMBERS[kind]


def weights_size(headers: Sequence[GgufHeader]) -> int:
    """Return the bytes of all tensors of a model's files."""
    return sum(tensor.size for header in headers for tensor in header.tensors)
