"""A program that tests the processor and the main memory, inside the sandbox in which jobs run.

It needs only the standard library. The argument is JSON: the number of `threads`, the bytes of `memory` to test, and how many seconds
the `load` takes. Each line of output is a JSON object with the `step` and its results, as those of `card_program`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

BLOCK: Final = 64 * 2**20
"""Bytes of memory that get one pattern."""
PATTERNS: Final = (0x55555555, 0xAAAAAAAA)
"""Each bit is once 0 and once 1."""
SPREAD: Final = 0x9E3779B1
"""Gives each block a pattern of its own."""
HASHED: Final = 4 * 2**20
WARM_UP: Final = 0.2
"""Share of the load's time after which its speed counts: clocks rise first."""

libc: Final = ctypes.CDLL(None)
libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def report(step: str, **values: Any) -> None:
    """Print the results of a step."""
    print(json.dumps({"step": step, **values}), flush=True)  # noqa: T201 - the parent reads it


def memory(size: int) -> dict[str, Any]:
    """Write patterns to so many bytes of memory, and read them back."""
    blocks = [ctypes.create_string_buffer(BLOCK) for _ in range(max(1, size // BLOCK))]
    wrong = 0
    for pattern in PATTERNS:
        words = [
            struct.pack("<I", (pattern ^ number * SPREAD) & 0xFFFFFFFF) * (BLOCK // 4)
            for number in range(min(2, len(blocks)))
        ]
        for number, block in enumerate(blocks):
            ctypes.memmove(block, words[number % len(words)], BLOCK)
        for number, block in enumerate(blocks):
            wrong += libc.memcmp(block, words[number % len(words)], BLOCK) != 0
    checked = len(blocks) * BLOCK
    return {"allocated": checked, "checked": checked, "complete": True, "wrong": wrong, "examples": []}


def load(threads: int, seconds: float) -> dict[str, Any]:
    """Keep all threads busy. Return whether all results were the same, and the speed in bytes per second.

    `first` is the speed once the clocks have risen, `last` that at the end.
    """
    data = bytes(range(256)) * (HASHED // 256)
    reference = hashlib.sha256(data).digest()
    began = time.monotonic()

    def work(_: int) -> tuple[list[float], int]:
        ends: list[float] = []
        wrong = 0
        while time.monotonic() - began < seconds or not ends:
            # hashlib lets other threads work meanwhile.
            wrong += hashlib.sha256(data).digest() != reference
            ends.append(time.monotonic() - began)
        return ends, wrong

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(work, range(threads)))
    ends = sorted(end for thread_ends, _ in results for end in thread_ends)
    elapsed = max(time.monotonic() - began, 1e-6)
    start = WARM_UP * elapsed
    part = max((elapsed - start) / 4, 1e-6)
    return {
        "seconds": elapsed,
        "launches": len(ends),
        "wrong": sum(wrong for _, wrong in results),
        "first": HASHED * sum(start <= end < start + part for end in ends) / part,
        "last": HASHED * sum(end >= elapsed - part for end in ends) / part,
    }


def main(options: dict[str, Any]) -> int:
    """Perform the steps. Returns the exit status."""
    try:
        report("memory", **memory(options["memory"]))
    except MemoryError:
        report("error", during="memory", call="", code=None, words="there is not enough free memory")
        return 1
    report("load", **load(options["threads"], options["load"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
