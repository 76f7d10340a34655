"""A program that executes each line of standard input, and answers it with the state of the GPUs.

Its argument is the number of seconds between attempts to connect.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from agent.miner.executor.devices import Devices
from agent.miner.machine import device_files, gpus
from runners.api import Device


def answer(line: str, cards: gpus.Gpus) -> Any:
    match line:
        case "snapshot":
            present = cards.snapshot()
        case "refresh":
            present = asyncio.run(cards.refresh())
        case "processes":
            return asyncio.run(cards.process_memory())
        case "placement":
            devices = tuple(Device("cuda", gpu.name, gpu.uuid) for gpu in cards.snapshot())
            sampled, _ = asyncio.run(Devices(devices, measure=cards.refresh).sample(devices))
            return [card.exclusive for card in sampled]
        case "close":
            cards.close()
            present = []
        case _:
            raise ValueError(line)
    return {"gpus": [asdict(gpu) for gpu in present], "reason": cards.reason}


def main(reconnect_seconds: str) -> None:
    # The loader reads this variable when it starts, which is too early in a fork, but finds by its name what is loaded.
    with suppress(OSError):
        ctypes.CDLL(f"{os.environ['LD_LIBRARY_PATH']}/libnvidia-ml.so.1")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    gpus._LOCK_SECONDS = gpus._REFRESH_SECONDS = 0.2
    gpus._RECONNECT_SECONDS = float(reconnect_seconds)
    device_files.MIG_MINORS = Path(os.environ.get("MIG_MINORS", device_files.MIG_MINORS))
    device_files.WSL = Path(os.environ.get("WSL", device_files.WSL))
    cards = gpus.Gpus()
    for line in sys.stdin:
        print(json.dumps(answer(line.strip(), cards)), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*sys.argv[1:])
