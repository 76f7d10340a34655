"""Runs a service's runner in a child process for a check of `gpu_check.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gpu_check_child import Child, ChildError, find
from gpu_check_report import Failed, Machine, NotChecked
from runners.api import Benchmark, RunnerError

LACKING: Final = frozenset({"HARDWARE_UNAVAILABLE", "GPU_UNAVAILABLE", "PROGRAM_MISSING"})
"""Error codes for something that a card or a machine lacks, which is not a failure."""


@contextmanager
def measured(service: str, machine: Machine) -> Iterator[tuple[Child, Benchmark]]:
    """Start a child of a service with its runner's benchmark. Raises `NotChecked` if this machine or card lacks a requirement."""
    try:
        runner = find(service)
    except ImportError as error:
        raise NotChecked(f"the runner is not part of this checkout ({error})") from None
    probe = runner.probe(machine.tools)
    if not probe.available:
        raise NotChecked(" ".join(probe.reasons))
    directory = Path(machine.directory / f"{service}-{time.monotonic_ns()}")
    directory.mkdir()
    try:
        benchmark = runner.benchmark(machine.tools, directory)
    except RunnerError as error:
        raise NotChecked(str(error)) from None
    try:
        with Child(service, machine.device, machine.tools, directory) as child:
            yield child, benchmark or Benchmark({}, "")
    except ChildError as error:
        if error.code in LACKING:
            raise NotChecked(str(error)) from None
        raise Failed(str(error)) from None
