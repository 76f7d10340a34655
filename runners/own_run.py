"""The auditor's own run of an audited job, or of a part of it, inside an audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import Context, Model, OutputFile


@dataclass(frozen=True, slots=True)
class OwnRun:
    """A `Context` with directories of its own below those of an audit's `outer` context.

    It publishes no events and has no checkpoints, since nobody waits for its result. `share` is the part of the audit's progress that it
    makes, `name` distinguishes several runs of one audit.
    """

    outer: Context
    name: str = "own"
    share: tuple[float, float] = (0.0, 90.0)
    files: Mapping[str, Path] = field(init=False)
    output: Path = field(init=False)
    work: Path = field(init=False)
    checkpoints: Mapping[str, Path] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        base = self.outer.work / self.name
        for name in ("output", "work"):
            (base / name).mkdir(parents=True)
            # The class is frozen.
            object.__setattr__(self, name, base / name)
        object.__setattr__(self, "files", self.outer.files)

    @property
    def adapters(self) -> Mapping[str, Model]:
        """See `Context`."""
        return self.outer.adapters

    @property
    def resources(self) -> Mapping[str, str]:
        """See `Context`."""
        return self.outer.resources

    @property
    def timeout_seconds(self) -> float:
        """See `Context`."""
        return self.outer.timeout_seconds

    @property
    def seed(self) -> str | None:
        """See `Context`."""
        return self.outer.seed

    @property
    def cache_salt(self) -> str | None:
        """See `Context`."""
        return self.outer.cache_salt

    @property
    def wants_evidence(self) -> bool:
        """See `Context`."""
        return self.outer.wants_evidence

    @property
    def max_units(self) -> Decimal | None:
        """See `Context`."""
        return self.outer.max_units

    def progress(self, percent: float | None, units: Decimal = Decimal(0)) -> None:
        """See `Context`."""
        if percent is None:
            self.outer.progress(None)
            return
        first, last = self.share
        self.outer.progress(first + (last - first) * percent / 100, units)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """See `Context`. Publishes nothing."""

    def log(self, text: str, source: str = "runner") -> None:
        """See `Context`."""
        self.outer.log(text, source)

    def checkpoint(self, file: OutputFile) -> None:
        """See `Context`. Hands nothing over."""

    def check(self) -> None:
        """See `Context`."""
        self.outer.check()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """See `Context`."""
        self.outer.on_cancel(callback)
