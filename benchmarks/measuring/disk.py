"""Determines the disk's own speed, for comparison with durable figures."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

WRITES = 100


def sync_milliseconds(folder: Path) -> float:
    """Return the median duration in milliseconds of a 4 KiB write with fdatasync."""
    times = []
    path = folder / "probe"
    with path.open("wb", buffering=0) as file:
        for _ in range(WRITES):
            before = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - before) * 1000)
    path.unlink()
    return statistics.median(times)
