"""How checks of `gpu_check.py` are declared, run and told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runners.api import Device, Tools


class NotChecked(Exception):
    """Something that a check needs is not here; the message says what."""


class Failed(Exception):
    """What was checked does not work."""


@dataclass(frozen=True, slots=True)
class Place:
    """What checks work with.

    `devices` are the cards, or the processor in a rehearsal; `missing` says why there is no card; `directory` is empty
    at first and shared.
    """

    devices: tuple[Device, ...]
    missing: str | None
    tools: Tools
    directory: Path

    @property
    def device(self) -> Device:
        """The card on which engines are tried: the first."""
        return self.devices[0]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table.

    `needs` is "card" for what has no meaning without one, "device" for what can be rehearsed on a processor, and
    "nothing" for the rest.
    """

    name: str
    run: Callable[[Place], str]
    needs: Literal["card", "device", "nothing"]


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one check."""

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
    ) -> Callable[[Callable[[Place], str]], Callable[[Place], str]]:
        """Declare the decorated function as a check. It returns what is worth knowing, or raises."""

        def declare(function: Callable[[Place], str]) -> Callable[[Place], str]:
            self.all.append(Check(name, function, needs))
            return function

        return declare


def perform(check: Check, place: Place) -> Line:
    """Run one check; whatever it raises becomes its line."""
    began = time.monotonic()
    try:
        _need(check, place)
        detail = check.run(place)
        return Line(check.name, "ok", time.monotonic() - began, detail)
    except NotChecked as error:
        return Line(check.name, "not checked", 0.0, str(error))
    except Exception as error:  # noqa: BLE001 - the other checks are worth running all the same
        words = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        return Line(check.name, "failed", time.monotonic() - began, " ".join(words.split()))


def _need(check: Check, place: Place) -> None:
    lacking = {"card": place.missing is not None, "device": not place.devices, "nothing": False}
    if lacking[check.needs]:
        raise NotChecked(place.missing or "there is no card")
