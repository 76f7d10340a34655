"""The auditor's own run of an audited job, or of a part of it, inside an audit."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import Context, OutputFile


class OwnRun:
    """A `Context` with directories of its own below those of an audit's `outer` context.

    It publishes no events and has no checkpoints, since nobody waits for its result. `share` is the part of the audit's progress that it
    makes, `name` distinguishes several runs of one audit.
    """

    def __init__(self, outer: Context, name: str = "own", share: tuple[float, float] = (0.0, 90.0)) -> None:
        self._outer = outer
        self._share = share
        self.output, self.work = outer.work / name / "output", outer.work / name / "work"
        for directory in (self.output, self.work):
            directory.mkdir(parents=True)
        self.checkpoints: Mapping[str, Path] = {}
        self.files, self.adapters, self.resources = outer.files, outer.adapters, outer.resources
        self.timeout_seconds, self.max_units = outer.timeout_seconds, outer.max_units
        self.seed, self.cache_salt, self.wants_evidence = outer.seed, outer.cache_salt, outer.wants_evidence
        self.check, self.log, self.on_cancel = outer.check, outer.log, outer.on_cancel

    def progress(self, percent: float | None, units: Decimal = Decimal(0)) -> None:
        """See `Context`."""
        if percent is None:
            self._outer.progress(None)
            return
        first, last = self._share
        self._outer.progress(first + (last - first) * percent / 100, units)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """See `Context`. Publishes nothing."""

    def checkpoint(self, file: OutputFile) -> None:
        """See `Context`. Hands nothing over."""
