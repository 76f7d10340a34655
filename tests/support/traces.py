"""Searches everything that an agent leaves behind for traces of a text: files, its process's memory, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PIECE = 2**22


def in_files(directory: Path, needles: Mapping[str, bytes]) -> set[str]:
    """Return which needles a file below a directory contains, with its path."""
    found = set()
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_socket():
            content = path.read_bytes()
            found |= {f"{name} in {path.name}" for name, needle in needles.items() if needle in content}
    return found


def in_memory(pid: int, needles: Mapping[str, bytes]) -> set[str]:
    """Return which needles the writable memory of a process contains."""
    longest = max(map(len, needles.values()))
    found = set()
    for start, size in _writable(pid):
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            before = b""
            for offset in range(start, start + size, PIECE):
                try:
                    memory.seek(offset)
                    piece = before + memory.read(min(PIECE, start + size - offset))
                except (OSError, ValueError):
                    break  # the mapping has ended, or cannot be read
                found |= {name for name, needle in needles.items() if needle in piece}
                before = piece[-longest:]
    return found


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
        if match is not None:
            start, end = int(match[1], 16), int(match[2], 16)
            yield start, end - start
