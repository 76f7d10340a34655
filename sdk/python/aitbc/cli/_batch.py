"""From the works of a command to its end: the display, Ctrl-C, what failed, the exit code, `--json`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from aitbc.cli._display import board
from aitbc.cli._engine import Engine
from aitbc.cli._exits import ExitCode, concerns_all, exit_code, explain
from aitbc.cli._inputs import Input
from aitbc.cli._notebook import Notebook
from aitbc.cli._options import BatchOptions, async_client_of
from aitbc.cli._output import complain, print_json, say
from aitbc.cli._work import Outcome, Work


def perform(
    context: typer.Context,
    works: Sequence[Work],
    *,
    as_json: bool,
    show: Callable[[Outcome], None] = lambda _: None,
    batch: BatchOptions | None = None,
) -> None:
    """Perform the works of a command to the end, and end the program with the code that says how it went.

    `show` prints what is to be seen of a work that is done, where there is no `as_json`. Ctrl-C cancels the jobs that are
    under way and ends with 130; a second one ends at once.
    """
    outcomes = _outcomes(context, works, batch or BatchOptions())
    if as_json:
        counts = Counter[str](outcome.status for outcome in outcomes)
        names = ("done", "skipped", "failed", "left")
        files = [outcome.to_dict() for outcome in outcomes]
        print_json({**{name: counts[name] for name in names}, "files": files})
    else:
        for outcome in outcomes:
            if outcome.status == "done":
                show(outcome)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if len(outcomes) > 1 and not failed:
        before = sum(outcome.status == "skipped" for outcome in outcomes)
        say(f"{len(outcomes)} files done" + (f", {before} of them before" if before else ""))
    if failed:
        _complain(failed, outcomes)
        raise typer.Exit(_code(failed, len(works)))


def _outcomes(context: typer.Context, works: Sequence[Work], batch: BatchOptions) -> list[Outcome]:
    cancelled: list[str] = []

    async def performed() -> list[Outcome]:
        nonlocal cancelled
        with board(len(works)) as shown:
            async with async_client_of(context) as client:
                engine = Engine(client, Notebook(), shown, force=batch.force)
                cancelled = engine.cancelled
                return await engine.run(works, batch.at_once)

    try:
        return asyncio.run(performed())
    except KeyboardInterrupt:
        complain(_interrupted(cancelled))
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _interrupted(cancelled: Sequence[str]) -> str:
    if not cancelled:
        return "interrupted; no job was cancelled (`aitbc jobs list` shows what goes on)"
    if len(cancelled) == 1:
        return f"interrupted; job {cancelled[0]} is cancelled"
    return f"interrupted; {len(cancelled)} jobs are cancelled ({', '.join(cancelled)})"


def _complain(failed: Sequence[Outcome], outcomes: Sequence[Outcome]) -> None:
    if len(outcomes) == 1:
        for outcome in failed:
            complain(explain(outcome.error or ValueError()))
        return
    left = sum(outcome.status == "left" for outcome in outcomes)
    rest = f", {left} were not begun" if left else ""
    complain(
        f"{len(failed)} of {len(outcomes)} failed{rest}; the same command again goes on with what is missing:"
    )
    for outcome in failed:
        say(f"  {outcome.label}: {explain(outcome.error or ValueError())}")


def _code(failed: Sequence[Outcome], total: int) -> ExitCode:
    """The code of the only failure, or of what ended the batch; else that something failed."""
    errors = [outcome.error for outcome in failed if outcome.error is not None]
    decisive = errors if total == 1 else [error for error in errors if concerns_all(error)]
    return exit_code(decisive[0]) if decisive else ExitCode.FAILED


def receipt_of(receipt: Path | None, one: Input, inputs: Sequence[Input]) -> Path | None:
    """Where the receipt of one of the inputs goes: the file that was named, or one of its own in that directory."""
    if receipt is None or (len(inputs) == 1 and not receipt.is_dir()):
        return receipt
    if receipt.exists() and not receipt.is_dir():
        raise typer.BadParameter(
            f"--receipt {receipt} is a file; name a directory for {len(inputs)} receipts."
        )
    return receipt / one.below.with_name(one.below.name + ".receipt.json")


def check_directory(directory: Path | None) -> None:
    """Raise `BadParameter` where a file stands in the place of a directory for outputs."""
    if directory is not None and directory.exists() and not directory.is_dir():
        raise typer.BadParameter(f"-o {directory} is a file; name a directory.")
