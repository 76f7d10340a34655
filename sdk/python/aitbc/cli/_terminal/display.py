"""Shows progress on stderr: bars on a terminal, otherwise one line for each change."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from aitbc.answers.jobs import Job
from aitbc.cli._arguments.option_names import with_options_named
from aitbc.cli._controls import harmless
from aitbc.cli._terminal.output import SafeConsole, print_status

_STEP = 10
"""Percent of progress between two lines, where there is no bar."""
_NAME_WIDTH, _BAR_WIDTH = 30, 20
"""Columns."""
_MIB = 2**20
_WORTH_A_LINE = 8 * _MIB
"""Bytes from which an upload is announced, where there is no bar."""


class WorkRow(ABC):
    """One work on the display. Call `end` when the work is over."""

    @abstractmethod
    def uploading(self, sent_bytes: int, total: int | None) -> None:
        """Show the progress of an upload, in bytes."""

    @abstractmethod
    def job(self, job: Job) -> None:
        """Show a new state of the job."""

    @abstractmethod
    def report(self, text: str) -> None:
        """Print a line that stays visible."""

    @abstractmethod
    def end(self) -> None:
        """Remove the row."""


class Board(ABC):
    """The display of a batch."""

    @abstractmethod
    def row(self, label: str) -> WorkRow:
        """Add a row for a work that begins."""

    @abstractmethod
    def advance(self) -> None:
        """Count one more work as over."""


@contextmanager
def board(total: int) -> Iterator[Board]:
    """Show a display of `total` works."""
    if not sys.stderr.isatty():
        yield _LineBoard()
        return
    with _bars() as progress:
        yield _Bars(progress, total)


class _LineBoard(Board):
    def row(self, label: str) -> WorkRow:
        return _Line(label)

    def advance(self) -> None:
        pass


class _Line(WorkRow):
    def __init__(self, label: str) -> None:
        self._label = label
        self._shown: set[str] = set()
        self._progress = 0.0
        self._retries = _Retries()
        self._announced = False

    def uploading(self, sent_bytes: int, total: int | None) -> None:
        if not self._announced and (total or 0) >= _WORTH_A_LINE:
            self.report(f"uploading {(total or 0) / _MIB:.0f} MiB")
            self._announced = True
        if sent_bytes == total and self._announced:
            self.report("uploaded")

    def job(self, job: Job) -> None:
        _report_waiting(self, job)
        if self._retries.report(self, job):
            self._progress = 0.0
        progress = float(job.progress or 0)
        # Each line stays in the file or the log of the user, so only real progress is worth one.
        if job.status in self._shown and progress < self._progress + _STEP:
            return
        self._shown.add(job.status)
        self._progress = progress
        state = f"running {progress:g}%" if job.status == "running" and progress else job.status
        self.report(state if self._label == job.job_id else f"{job.job_id} {state}")

    def report(self, text: str) -> None:
        print_status(f"{self._label}: {text}")

    def end(self) -> None:
        pass


def _bars() -> Progress:
    # Narrower than the terminal, because the terminal's own output, such as ^C, must not wrap to a new line.
    name = Column(max_width=_NAME_WIDTH, min_width=_NAME_WIDTH, no_wrap=True, overflow="ellipsis")
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=_BAR_WIDTH),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False, table_column=Column(min_width=9, no_wrap=True)),
        TimeElapsedColumn(),
        console=SafeConsole(stderr=True),
        transient=True,
    )


class _Bars(Board):
    """One bar for each running work, and one for the whole batch if it has several works."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._all: TaskID | None = None
        if total > 1:
            self._all = progress.add_task(f"0 of {total} done", total=total, state="")

    def row(self, label: str) -> WorkRow:
        return _Bar(self._progress, harmless(label))

    def advance(self) -> None:
        self._done += 1
        if self._all is not None:
            self._progress.update(
                self._all, completed=self._done, description=f"{self._done} of {self._total} done"
            )


class _Bar(WorkRow):
    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label
        self._retries = _Retries()
        self._task = progress.add_task(label, total=None, state="")

    def uploading(self, sent_bytes: int, total: int | None) -> None:
        self._progress.update(self._task, completed=sent_bytes, total=total, state="uploading")

    def job(self, job: Job) -> None:
        _report_waiting(self, job)
        self._retries.report(self, job)
        waiting = job.status == "submitted"
        self._progress.update(
            self._task,
            completed=0 if waiting else float(job.progress or 0),
            total=100,
            state="waiting" if waiting else harmless(job.status),
        )

    def report(self, text: str) -> None:
        # Through the console of the bars, which moves them down instead of writing into them.
        self._progress.console.print(harmless(f"{self._label}: {text}"), soft_wrap=True)

    def end(self) -> None:
        self._progress.remove_task(self._task)


class _Retries:
    """The runs of one job that have failed. Each is reported once."""

    def __init__(self) -> None:
        self._reported = 0

    def report(self, row: WorkRow, job: Job) -> bool:
        """Print which run the job waits for and why the last one ended. Return False if there is nothing new."""
        attempts = job.attempts or 0
        if job.status != "submitted" or job.last_failure is None or attempts <= self._reported:
            return False
        self._reported = attempts
        row.report(f"attempt {attempts + 1} of {job.max_attempts}: {job.last_failure['message']}")
        return True


def _report_waiting(row: WorkRow, job: Job) -> None:
    """Print why a job waits, once its event says so."""
    if job.waiting is not None:
        summary = with_options_named(job.waiting["summary"])
        row.report(f"still waiting: {summary} `aitbc jobs explain {job.job_id}` shows more.")


@contextmanager
def row_of(job_id: str) -> Iterator[WorkRow]:
    """Show the display of a single job that is watched."""
    with board(1) as display:
        row = display.row(job_id)
        try:
            yield row
        finally:
            row.end()
