"""Samples of GPUs of earlier hours, which no test can wait for, in the database of a running coordinator."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

INTERVAL = 300


def store_gpu_samples(
    data_dir: Path, miner_id: str, samples: Mapping[float, Sequence[Mapping[str, Any]]]
) -> None:
    """Store what a miner reported about its GPUs, by time. The fields are those of `GpuSample`."""
    unknown = {"utilization": None, "memory_free": None, "temperature": None, "power": None}
    rows = [
        (miner_id, int(time) // INTERVAL * INTERVAL, json.dumps([{**unknown, **gpu} for gpu in gpus]))
        for time, gpus in samples.items()
    ]
    path = data_dir / "coordinator" / "coordinator.db"
    with closing(sqlite3.connect(path, timeout=300)) as database, database:
        database.executemany(
            "INSERT OR IGNORE INTO gpu_samples (miner_id, start, gpus) VALUES (?, ?, ?)", rows
        )
