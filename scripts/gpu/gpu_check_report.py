"""Declares, runs and reports the checks of `gpu_check.py`.

A check runs in a process of its own, which is ended with all that it started when its time is over. Nothing that hangs in a driver
can therefore delay the other checks, and the table of results is complete at any moment.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Literal

import psutil

from runners.api import Device, Tools

PATIENCE: Final = 4
"""A check that takes this many times as long as expected hangs."""

LEAST_PATIENCE: Final = 60.0
"""Seconds that each check has at least: the first use of a card without persistence mode takes 20."""

UNHURRIED_SECONDS: Final = 1800.0
"""The time limit of a check if the user gave none: a busy machine without a card may rehearse."""

END_SECONDS: Final = 2.0
"""What remains of a budget for ending the last check and its processes."""

_PDEATHSIG: Final = 1
_CHILD_SUBREAPER: Final = 36


class Part(IntEnum):
    """The checks that a machine which is at hand for a short time performs in one call."""

    FACTS = 1
    ENGINES = 2
    LANGUAGE_AND_VIDEO = 3
    LONG = 4


class NotChecked(Exception):
    """A requirement of a check is missing; the message names it."""


class Failed(Exception):
    """The check failed. `evidence` are lines for the written table only."""

    def __init__(self, message: str, evidence: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.evidence = tuple(evidence)


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices and tools that checks use.

    `devices` are the cards, or the processor in a rehearsal; `missing` says so if there is no card; `directory` is shared
    and initially empty. Models are created in `made_models`, and reused from there.
    """

    devices: tuple[Device, ...]
    missing: str | None
    tools: Tools
    directory: Path
    made_models: Path

    @property
    def device(self) -> Device:
        """The first card, on which engines are tested."""
        return self.devices[0]


@dataclass(frozen=True, slots=True)
class Passed:
    """The details of a check for the table, and lines for the written table only."""

    detail: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    `needs` is "card" for a check that requires one, "device" for a check that can be rehearsed on a processor, and
    "nothing" for the rest. `seconds` is the expected time on a card. `modules`, `programs` and `files`, patterns in the directory of
    models, are further requirements; alternatives are separated by "or".
    """

    name: str
    run: Callable[[Machine], str | Passed]
    needs: Literal["card", "device", "nothing"]
    part: Part
    seconds: float
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def requirements(self) -> str:
        """What it needs, for people."""
        device = {"card": ("card",), "device": ("card or --rehearse",), "nothing": ()}[self.needs]
        return ", ".join((*device, *self.modules, *self.programs, *self.files)) or "nothing"

    def lacking(self, machine: Machine) -> list[str]:
        """Return the requirements that this machine is known to lack, the card first."""
        alone = (self.needs == "card" and machine.missing) or (self.needs == "device" and not machine.devices)
        return [
            *([machine.missing or "no card"] if alone else []),
            *(
                f"{name} is not installed"
                for name in self.modules
                if not any(map(importlib.util.find_spec, name.split(" or ")))
            ),
            *(f"{name} is not installed" for name in self.programs if shutil.which(name) is None),
            *(
                f"no {pattern} in {machine.tools.models_dir}"
                for pattern in self.files
                if not any(machine.tools.models_dir.glob(pattern))
            ),
        ]


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one check."""

    name: str
    status: Literal["ok", "failed", "not checked"]
    seconds: float
    detail: str
    evidence: tuple[str, ...] = ()


@dataclass(slots=True)
class Checks:
    """The checks in the order of their declaration, which within a part is that of their worth."""

    all: list[Check] = field(default_factory=list)

    def add(
        self,
        name: str,
        needs: Literal["card", "device", "nothing"],
        part: Part,
        seconds: float,
        *,
        modules: tuple[str, ...] = (),
        programs: tuple[str, ...] = (),
        files: tuple[str, ...] = (),
    ) -> Callable[[Callable[[Machine], str | Passed]], Callable[[Machine], str | Passed]]:
        """Register the decorated function as a check. It returns details for the table, or raises an error."""

        def declare(function: Callable[[Machine], str | Passed]) -> Callable[[Machine], str | Passed]:
            self.all.append(Check(name, function, needs, part, seconds, modules, programs, files))
            return function

        return declare


CHECKS: Final = Checks()
"""All checks of the program; the modules that declare some add them when they are imported."""


@dataclass(slots=True)
class Table:
    """The results so far, of all checks in their order. Each change is written to `file`, which is always complete."""

    checks: Sequence[Check]
    file: Path | None = None
    lines: list[Line] = field(default_factory=list)

    def write(self, running: Check | None = None) -> None:
        """Write the table: what was not reached counts as not checked."""
        if self.file is None:
            return
        unknown = [
            Line(
                check.name, "not checked", 0.0, "it was running" if check == running else "it was not reached"
            )
            for check in self.checks[len(self.lines) :]
        ]
        temporary = self.file.with_name(f"{self.file.name}.new")
        temporary.write_text(
            json.dumps([asdict(line) for line in (*self.lines, *unknown)], indent=1) + "\n", encoding="utf-8"
        )
        temporary.replace(self.file)

    def add(self, line: Line) -> None:
        """Add the result of the next check."""
        self.lines.append(line)
        self.write()


def perform(check: Check, machine: Machine, left: float | None) -> Line:
    """Run one check in a process of its own, for at most `left` seconds, and return its line; an error becomes part of the line."""
    if lacking := check.lacking(machine):
        return Line(check.name, "not checked", 0.0, "; ".join(lacking))
    if left is not None and check.seconds > left:
        reason = f"no time left: it takes about {check.seconds:.0f} s of {max(0.0, left):.0f} s"
        return Line(check.name, "not checked", 0.0, reason)
    patience = UNHURRIED_SECONDS if left is None else max(LEAST_PATIENCE, PATIENCE * check.seconds)
    limit = patience if left is None else min(patience, left)
    # A forked process shares what is loaded already; this one has used no card and has no other threads.
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(check, machine, writing), daemon=True)
    began = time.monotonic()
    process.start()
    writing.close()
    try:
        if reading.poll(limit):
            with suppress(EOFError):
                line: Line = reading.recv()
                return line
            process.join(END_SECONDS)
            detail = f"its process ended ({_ending(process.exitcode)})"
        elif limit == patience:
            detail = f"it was ended after {limit:.0f} s without a result, {check.seconds:.0f} s were expected"
        else:
            detail = f"no time left: it was ended after {limit:.0f} s, {check.seconds:.0f} s were expected"
            return Line(check.name, "not checked", 0.0, detail)
        return Line(check.name, "failed", time.monotonic() - began, detail)
    finally:
        reading.close()
        process.kill()
        process.join(END_SECONDS)
        end_children()


def adopt_orphans() -> None:
    """Let processes whose parent has ended become children of this one, so that `end_children` finds them."""
    ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1)


def end_children() -> None:
    """Kill all processes that this one has started. Waits for them, but not for those that a driver does not release."""
    end = time.monotonic() + END_SECONDS
    while (children := psutil.Process().children(recursive=True)) and time.monotonic() < end:
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, max(0.0, end - time.monotonic()))


def _run(check: Check, machine: Machine, result: Connection) -> None:
    """Run the check in this process, and send its line."""
    # Otherwise it would go on if the program is killed.
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    try:
        passed = check.run(machine)
        passed = Passed(passed) if isinstance(passed, str) else passed
        line = Line(check.name, "ok", time.monotonic() - began, passed.detail, passed.evidence)
    except NotChecked as error:
        line = Line(check.name, "not checked", 0.0, str(error))
    except Exception as error:  # noqa: BLE001 - the other checks still run
        words = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        evidence = error.evidence if isinstance(error, Failed) else ()
        line = Line(check.name, "failed", time.monotonic() - began, " ".join(words.split()), evidence)
    result.send(line)


def last_line(text: str) -> str:
    """Return the last line of a program's errors, which in Python is the error itself."""
    return text.strip().rpartition("\n")[2][-300:]


def _ending(status: int | None) -> str:
    if status is None or status >= 0:
        return f"status {status}"
    return signal.Signals(-status).name
