"""Judges what the test of the processor and the main memory has shown."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from agent.core.values.quantities import gibibytes
from agent.miner.machine import hardware
from agent.miner.machine.selftest_report import Check
from agent.miner.selftest.sandboxed import Results

LARGEST_TEST: Final = 2 * 2**30
"""Bytes of main memory that are tested at most: a part, since all other programs use it too."""
SHARE: Final = 0.25
"""Of the available memory that is tested."""
_COUNTERS: Final = "cpu[0-9]*/thermal_throttle/package_throttle_count"
_CPUS: Final = Path("/sys/devices/system/cpu")


def tested_memory() -> int:
    """Return how many bytes of main memory to test."""
    return min(LARGEST_TEST, int(SHARE * psutil.virtual_memory().available))


def throttled() -> int | None:
    """Return how often the processor has slowed down for heat since the start, None if it does not count that (virtual machines, AMD)."""
    counts = []
    for path in _CPUS.glob(_COUNTERS):
        try:
            counts.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return max(counts, default=None)


def checks(results: Results, earlier_throttling: int | None, throttling: int | None) -> Iterator[Check]:
    """Yield whether the memory returns what was written to it, and whether the processor computes the same each time."""
    check = partial(Check, name="memory")
    tested = results.steps.get("memory")
    if tested is not None and tested["wrong"]:
        yield check(
            outcome="fault",
            message=f"The main memory returned something else than was written to it, in {tested['wrong']} of its parts.",
            remedy="Undo any overclocking of the memory, and test it for hours with memtest86+. Its results cannot be trusted.",
        )
    elif tested is not None:
        message = f"{gibibytes(tested['checked'])} of main memory were written and read without an error."
        yield check(outcome="ok", message=message, figures={"memory_checked": tested["checked"]})
    computed = results.steps.get("load")
    if computed is None:
        message = f"The test of the processor ended early. {results.failure or ''}".strip()
        yield Check(name="load", outcome="fault", message=message, remedy="See aitbc-agent doctor.")
        return
    figures = {"load_seconds": computed["seconds"], "hashed": computed["last"]}
    check = partial(Check, name="load", figures=figures)
    message = (
        f"{hardware.cpu_name()}: {computed['seconds']:.0f} s of load on {hardware.cpu_cores()} processors"
    )
    if computed["wrong"]:
        yield check(
            outcome="fault",
            message=f"The processor computed different results from the same data, {computed['wrong']} times in {computed['seconds']:.0f} s.",
            remedy="Undo any overclocking, check its cooling and the power supply, and test again. Its results cannot be trusted.",
        )
    elif earlier_throttling is not None and throttling is not None and throttling > earlier_throttling:
        message = f"The processor slowed down for heat {throttling - earlier_throttling} times. {message}."
        yield check(outcome="warning", message=message, remedy="Clean its fans, and give it air.")
    else:
        yield check(outcome="ok", message=f"{message}, always with the same results.")
