"""The demo's terminal output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from aitbc import AITBCClient, Job
from demo_agent import PATIENCE_SECONDS
from demo_work import ROOT, Attempt, Work

LOG_LINE_LENGTH = 300
LOG_LINES = 30

console = Console(highlight=False, soft_wrap=True)


def headline(text: str) -> None:
    """Print the heading of a step."""
    console.print(f"\n[bold]{text}[/]")


def fact(name: str, text: str) -> None:
    """Print a named fact."""
    console.print(f"  {name:<32} {text}")


def watch(client: AITBCClient, works: Sequence[Work], attempt: Attempt) -> None:
    """Wait for the jobs and show their progress: bars on a terminal, otherwise a line per change. Each wait is an `attempt`."""
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[status]}"),
        console=console,
    )
    with bars if console.is_terminal else nullcontext():
        shows = [bar(bars, work) if console.is_terminal else lines(work) for work in works]
        for work, show in zip(works, shows, strict=True):
            with attempt(work):
                client.jobs.wait(work.job_id, PATIENCE_SECONDS, show)


def bar(bars: Progress, work: Work) -> Callable[[Job], None]:
    """Shows a job as a progress bar."""
    task = bars.add_task(work.title, total=100, status="submitted")

    def update(job: Job) -> None:
        percent = 100 if job.status == "completed" else job.progress or 0
        bars.update(task, completed=percent, status=job.status)

    return update


def lines(work: Work) -> Callable[[Job], None]:
    """Prints a line whenever a job changes."""
    last: tuple[str, int | float | None] | None = None

    def update(job: Job) -> None:
        nonlocal last
        if (job.status, job.progress) != last:
            last = (job.status, job.progress)
            fact(work.title, job.status if job.status != "running" else f"running, {job.progress or 0:g} %")

    return update


def show_end_of(log: Path) -> None:
    """Print the last lines of the agent's log if it exists."""
    if log.exists() and (text := log.read_text(errors="replace")):
        console.print(f"\nThe end of {log.relative_to(ROOT)}:")
        for line in text.splitlines()[-LOG_LINES:]:
            console.print(line[:LOG_LINE_LENGTH], markup=False)
