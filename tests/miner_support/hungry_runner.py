"""A third-party runner on a simulated card whose speed and energy depend on the card's power limit."""

# ruff: noqa: ARG002, ARG003 - the contract's signatures

from __future__ import annotations

import os
import re
import time
from decimal import Decimal
from pathlib import Path

from miner_support.timed_runners import Input, definition
from runners.api import Benchmark, Context, Probe, Result, Runner, Tools

SPEEDS = {450: 1.0, 390: 0.97, 330: 0.92, 270: 0.85, 210: 0.6, 150: 0.3}
"""The speed at each limit in watts; 270 W give the most work for their energy."""
SECONDS = 0.02
"""The time of a job at full speed. Its energy is counted as if it took a hundred times longer, so that a busy machine changes nothing."""


class HungryRunner(Runner[Input]):
    """Each run takes the time and the energy that the limit of the first card means."""

    name = "hungry"
    version = "1.0"
    definition = definition("hungry")

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        return Probe(available=True)

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:
        return Benchmark({"source": "artifact:x"}, "letter/s", {"source": _written(directory / "source.txt")})

    def run(self, request: Input, context: Context) -> Result:
        cards = Path(os.environ["NVML_SHIM_FILE"])
        limit = Path(f"{cards}.power_limit.0")
        watts = int(limit.read_text()) / 1000 if limit.exists() else 450.0
        speed = SPEEDS[round(watts)]
        time.sleep(SECONDS / speed)
        millijoules = round(1000 * watts * 100 * SECONDS / speed)
        text = re.sub(
            r"(?m)^0\.energy (\d+)$",
            lambda match: f"0.energy {int(match[1]) + millijoules}",
            cards.read_text(),
        )
        cards.with_suffix(".new").write_text(text)
        cards.with_suffix(".new").replace(cards)
        return Result({"text": "done"}, Decimal(10))


def _written(path: Path) -> Path:
    path.write_text("ten letter")
    return path


def install(directory: Path) -> dict[str, str]:
    """Make `directory` an installed package with the runner. Return the environment in which it is found."""
    information = directory / "hungry-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: hungry\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[aitbc.runners]\nhungry = miner_support.hungry_runner:HungryRunner\n"
    )
    return {"PYTHONPATH": f"{directory}:{Path(__file__).parents[1]}"}
