"""What a runner sees of its run: its files and limits, and the calls that report to the miner."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import Cancelled, Checkpoints, Model, OutputFile, ServiceDefinition
from runners.host.job_log import LogWriter
from runners.host.protocol import Checkpoint, Event, Message, Progress, Run
from runners.host.results import reference
from runners.host.sealing import EVENT_KIND, RunSealing
from runners.plain_json import check_json

PROGRESS_INTERVAL = 0.1
"""Seconds between two progress messages of a run. Others are dropped, because each message replaces the one before."""


class RunContext:
    """`runners.api.Context` over the socket."""

    def __init__(self, message: Run, send: Callable[[Message], None], declared: Checkpoints | None) -> None:
        self.files: Mapping[str, Path] = message.files
        self.adapters: Mapping[str, Model] = message.adapters
        self.checkpoints: Mapping[str, Path] = message.checkpoints
        self.output = message.output
        self.work = message.work
        self.resources: Mapping[str, str] = message.resources
        self.timeout_seconds = message.timeout_seconds
        self.max_units = message.max_units
        self.trace_id = message.trace_id
        self.seed = message.seed
        self.cache_salt = message.cache_salt
        self.wants_evidence = message.sealed is None
        self._run_id = message.run_id
        self._send = send
        self._declared = declared
        self.sealing = None if message.sealed is None else RunSealing(message, message.sealed, send)
        self._log = LogWriter(message.run_id, send) if self.sealing is None else self.sealing.log
        self._lock = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []
        self._last_progress = float("-inf")
        self._unsent: tuple[float, Decimal] | None = None
        self._reached = 0.0, Decimal(0)

    def progress(self, percent: float | None, units: Decimal = Decimal(0)) -> None:
        """See `Context.progress`."""
        now = time.monotonic()
        with self._lock:
            if percent is None:
                percent, units = self._reached
            self._reached = percent, units
            # A step may take a millisecond, and each message is read, checked and passed on by two programs.
            if now - self._last_progress < PROGRESS_INTERVAL:
                self._unsent = percent, units
                return
            self._last_progress, self._unsent = now, None
        self._send_progress(percent, units)

    def log(self, text: str, source: str = "runner") -> None:
        """See `Context.log`."""
        self._log.add(text, source)

    def flush_log(self) -> None:
        """Send the lines of the job's log that were held back."""
        self._log.flush()

    def flush(self) -> None:
        """Send what was held back of a run that ends without a result: its log, and its progress, whose units are billed."""
        self.flush_log()
        with self._lock:
            unsent, self._unsent = self._unsent, None
        if unsent is not None:
            self._send_progress(*unsent)

    def _send_progress(self, percent: float, units: Decimal) -> None:
        # A runner computes it, often from what an engine prints.
        bounded = 0.0 if math.isnan(percent) else min(max(float(percent), 0.0), 100.0)
        self._send(Progress(run_id=self._run_id, progress=bounded, units=units))

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """See `Context.event`."""
        check_json(dict(data))
        if self.sealing is not None:
            kind, data = EVENT_KIND, self.sealing.event(kind, data)
        self._send(Event(run_id=self._run_id, kind=kind, data=dict(data)))

    def checkpoint(self, file: OutputFile) -> None:
        """See `Context.checkpoint`."""
        if self._declared is None or not self._declared.accepts(file.name, file.media_type):
            raise ValueError(f"The service's definition declares no checkpoint {file.name!r}.")
        if self.sealing is not None:
            return  # another miner could not open it
        self._send(Checkpoint(run_id=self._run_id, file=reference(file, self.output)))

    def check(self) -> None:
        """See `Context.check`."""
        if self._cancelled:
            raise Cancelled

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """See `Context.on_cancel`."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def open(self, parameters: Mapping[str, Any], definition: ServiceDefinition) -> Mapping[str, Any]:
        """Return the run's parameters, of a sealed run after opening them and its files."""
        if self.sealing is None:
            return parameters
        opened = self.sealing.open()
        for path, _, named in definition.files_of(opened):
            self.sealing.require(path, named)
        self.files, self.output, self.work = self.sealing.files, self.sealing.output, self.sealing.work
        return opened

    def cancel(self) -> None:
        """Mark the run as cancelled and call every callback once, even if one of them raises."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            # Called outside of the lock, since a callback may itself report progress.
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - a failing callback must not prevent the others
                traceback.print_exc()
