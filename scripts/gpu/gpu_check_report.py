"""Declares, runs and reports the checks of `gpu_check.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runners.api import Device, Tools


class NotChecked(Exception):
    """A requirement of a check is missing; the message names it."""


class Failed(Exception):
    """The check failed."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices and tools that checks use.

    `devices` are the cards, or the processor in a rehearsal; `missing` is the reason why there is no card; `directory` is shared
    and initially empty.
    """

    devices: tuple[Device, ...]
    missing: str | None
    tools: Tools
    directory: Path

    @property
    def device(self) -> Device:
        """The first card, on which engines are tested."""
        return self.devices[0]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    `needs` is "card" for a check that requires one, "device" for a check that can be rehearsed on a processor, and
    "nothing" for the rest.
    """

    name: str
    run: Callable[[Machine], str]
    needs: Literal["card", "device", "nothing"]


@dataclass(frozen=True, slots=True)
class Line:
    """The result of one check."""

    name: str
    status: Literal["ok", "failed", "not checked"]
    seconds: float
    detail: str


@dataclass(slots=True)
class Checks:
    """The checks in the order of their declaration."""

    all: list[Check] = field(default_factory=list)

    def add(
        self, name: str, needs: Literal["card", "device", "nothing"]
    ) -> Callable[[Callable[[Machine], str]], Callable[[Machine], str]]:
        """Register the decorated function as a check. It returns details for the table, or raises an error."""

        def declare(function: Callable[[Machine], str]) -> Callable[[Machine], str]:
            self.all.append(Check(name, function, needs))
            return function

        return declare


def perform(check: Check, machine: Machine) -> Line:
    """Run one check and return its line; an error becomes part of the line."""
    began = time.monotonic()
    try:
        _need(check, machine)
        detail = check.run(machine)
        return Line(check.name, "ok", time.monotonic() - began, detail)
    except NotChecked as error:
        return Line(check.name, "not checked", 0.0, str(error))
    except Exception as error:  # noqa: BLE001 - the other checks still run
        words = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        return Line(check.name, "failed", time.monotonic() - began, " ".join(words.split()))


def _need(check: Check, machine: Machine) -> None:
    lacking = {"card": machine.missing is not None, "device": not machine.devices, "nothing": False}
    if lacking[check.needs]:
        raise NotChecked(machine.missing or "there is no card")
