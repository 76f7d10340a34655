"""Shows how work goes, on stderr: bars on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
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

from aitbc.cli._output import harmless, say
from aitbc.models import Job

_STEP = 10
"""Percent of progress that are worth a line where there is no bar."""
_NAME_WIDTH, _BAR_WIDTH = 30, 20
"""Columns."""
_MIB = 2**20
_WORTH_A_LINE = 8 * _MIB
"""Bytes of an upload that is announced where there is no bar."""


class Row(ABC):
    """One work on the display; it must be told of its end."""

    @abstractmethod
    def uploading(self, sent: int, total: int | None) -> None:
        """Bytes sent so far, and in all."""

    @abstractmethod
    def job(self, job: Job) -> None:
        """A state of the job."""

    @abstractmethod
    def told(self, text: str) -> None:
        """Say something that stays."""

    @abstractmethod
    def end(self) -> None:
        """The work is over."""


class Board(ABC):
    """The display of a batch."""

    @abstractmethod
    def row(self, label: str) -> Row:
        """A row for a work that begins."""

    @abstractmethod
    def advance(self) -> None:
        """One more work is over."""


@contextmanager
def board(total: int) -> Iterator[Board]:
    """A display of `total` works."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _bars() as progress:
        yield _Bars(progress, total)


class _Lines(Board):
    def row(self, label: str) -> Row:
        return _Line(label)

    def advance(self) -> None:
        pass


class _Line(Row):
    def __init__(self, label: str) -> None:
        self._label = label
        self._status = ""
        self._progress = 0.0
        self._announced = False

    def uploading(self, sent: int, total: int | None) -> None:
        if not self._announced and (total or 0) >= _WORTH_A_LINE:
            self.told(f"uploading {_mebibytes(total or 0)}")
            self._announced = True
        if sent == total and self._announced:
            self.told("uploaded")

    def job(self, job: Job) -> None:
        progress = float(job.progress or 0)
        if job.status == self._status and progress < self._progress + _STEP:
            return
        self._status, self._progress = job.status, progress
        shown = f"running {progress:g}%" if job.status == "running" and progress else job.status
        self.told(shown if self._label == job.job_id else f"{job.job_id} {shown}")

    def told(self, text: str) -> None:
        say(f"{self._label}: {text}")

    def end(self) -> None:
        pass


def _bars() -> Progress:
    # Not as wide as the terminal: what the terminal itself writes, such as ^C, must not begin a new line.
    name = Column(max_width=_NAME_WIDTH, min_width=_NAME_WIDTH, no_wrap=True, overflow="ellipsis")
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=_BAR_WIDTH),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False, table_column=Column(min_width=9, no_wrap=True)),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )


class _Bars(Board):
    """A bar for each work that is under way, and one for all where there are several."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._over = 0
        self._all: TaskID | None = None
        if total > 1:
            self._all = progress.add_task(f"0 of {total} done", total=total, state="")

    def row(self, label: str) -> Row:
        return _Bar(self._progress, harmless(label))

    def advance(self) -> None:
        self._over += 1
        if self._all is not None:
            self._progress.update(
                self._all, completed=self._over, description=f"{self._over} of {self._total} done"
            )


class _Bar(Row):
    def __init__(self, progress: Progress, label: str) -> None:
        self._progress = progress
        self._label = label
        self._task = progress.add_task(label, total=None, state="")

    def uploading(self, sent: int, total: int | None) -> None:
        self._progress.update(self._task, completed=sent, total=total, state="uploading")

    def job(self, job: Job) -> None:
        waits = job.status == "submitted"
        self._progress.update(
            self._task,
            completed=0 if waits else float(job.progress or 0),
            total=100,
            state="waiting" if waits else harmless(job.status),
        )

    def told(self, text: str) -> None:
        self._progress.console.print(harmless(f"{self._label}: {text}"), markup=False, soft_wrap=True)

    def end(self) -> None:
        self._progress.remove_task(self._task)


def _mebibytes(size: int) -> str:
    return f"{size / _MIB:.0f} MiB"


@contextmanager
def row_of(job_id: str) -> Iterator[Row]:
    """A display of one job that is only watched."""
    with board(1) as shown:
        row = shown.row(job_id)
        try:
            yield row
        finally:
            row.end()
