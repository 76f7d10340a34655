"""Runs all works of a command: the display, Ctrl-C, the list of failures, the exit code, `--json`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from aitbc.cli._arguments.options import BatchOptions, JobOptions, async_client_of, client_of
from aitbc.cli._arguments.sealing import PYTHON_MODEL, find_target
from aitbc.cli._batch.engine import Engine
from aitbc.cli._batch.inputs import BatchInput
from aitbc.cli._batch.journal import Journal
from aitbc.cli._batch.work import ANY_JOB, SERVICES, BatchWork, Outcome
from aitbc.cli._terminal.display import board
from aitbc.cli._terminal.exits import ExitCode, ends_batch, exit_code, explain
from aitbc.cli._terminal.output import print_error, print_json, print_status, print_text


def perform(
    context: typer.Context,
    works: Sequence[BatchWork],
    *,
    job: JobOptions,
    show: Callable[[Outcome], None] | None = None,
    batch: BatchOptions | None = None,
) -> None:
    """Perform the works of a command, then exit with the matching code.

    Unless JSON is requested, `show` prints the result of each work that is done. Ctrl-C cancels the unfinished jobs and exits with
    130; a second Ctrl-C exits immediately.
    """
    if job.audited and works:
        _print_audit_price(context, works[0])
    if job.seal and works:
        works = _sealed(context, works, job)
    outcomes = _outcomes(context, works, batch or BatchOptions(), detach=job.detach)
    if job.as_json:
        counts = Counter[str](outcome.status for outcome in outcomes)
        names = ("done", "submitted", "skipped", "failed", "left")
        files = [outcome.to_dict() for outcome in outcomes]
        print_json({**{name: counts[name] for name in names}, "files": files})
    else:
        for outcome in outcomes:
            if outcome.status == "done" and show is not None:
                show(outcome)
            elif outcome.status == "submitted" and outcome.job_id is not None:
                print_text(outcome.job_id)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if len(outcomes) > 1 and not failed and not job.detach:
        skipped = sum(outcome.status == "skipped" for outcome in outcomes)
        print_status(f"{len(outcomes)} files done" + (f", {skipped} of them earlier" if skipped else ""))
    if failed:
        _print_failures(failed, outcomes)
        raise typer.Exit(_code(failed, len(works)))


def _print_audit_price(context: typer.Context, work: BatchWork) -> None:
    """Print what the requested audits cost, before anything is submitted. If they are not possible, the coordinator says so later."""
    named = {f"/v1/services/{work.route}", str(work.body.get("type", "")).replace("-", "_")}
    with client_of(context) as client:
        # As plain JSON: coordinators without audits have no such field.
        services = client.registry.services().to_dict()["services"]
    for service in services:
        audit = service.get("audit")
        if audit and {service.get("route"), service["service_id"]} & named:
            print_status(
                f"The audit costs {audit['percent']:g} % of each job's price in addition. {audit['compares']} "
                f"{audit['auditors']} {'miner' if audit['auditors'] == 1 else 'miners'} can check the result."
            )


def _sealed(context: typer.Context, works: Sequence[BatchWork], job: JobOptions) -> list[BatchWork]:
    """Return the works for the miner to which they are sealed, all to the same one."""
    first = works[0]
    with client_of(context) as client:
        target = find_target(
            client,
            SERVICES.get(first.route, PYTHON_MODEL),
            model=first.body.get("model") if first.route != ANY_JOB else None,
            miner_id=first.options.get("miner_id"),
            offer_id=first.options.get("offer_id"),
        )
    print_status(target.notice)
    return [work.sealed_to(target.miner_id, named=job.name is not None) for work in works]


def _outcomes(
    context: typer.Context, works: Sequence[BatchWork], batch: BatchOptions, *, detach: bool
) -> list[Outcome]:
    cancelled: list[str] = []

    async def performed() -> list[Outcome]:
        nonlocal cancelled
        with board(len(works)) as display:
            async with async_client_of(context) as client:
                engine = Engine(client, Journal(), display, force=batch.force, detach=detach)
                cancelled = engine.cancelled
                return await engine.run(works, batch.at_once)

    try:
        return asyncio.run(performed())
    except KeyboardInterrupt:
        print_error(_interrupted(cancelled))
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _interrupted(cancelled: Sequence[str]) -> str:
    if not cancelled:
        return "Interrupted. No job was cancelled; `aitbc jobs list` shows the jobs that are still running."
    if len(cancelled) == 1:
        return f"Interrupted. Job {cancelled[0]} was cancelled."
    return f"Interrupted. {len(cancelled)} jobs were cancelled: {', '.join(cancelled)}."


def _print_failures(failed: Sequence[Outcome], outcomes: Sequence[Outcome]) -> None:
    if len(outcomes) == 1:
        for outcome in failed:
            print_error(explain(outcome.error or ValueError()))
        return
    unstarted = sum(outcome.status == "left" for outcome in outcomes)
    note = f", {unstarted} were not started" if unstarted else ""
    print_error(f"{len(failed)} of {len(outcomes)} files failed{note}. Run the same command to retry them:")
    for outcome in failed:
        print_status(f"  {outcome.label}: {explain(outcome.error or ValueError())}")


def _code(failed: Sequence[Outcome], total: int) -> ExitCode:
    """Return the code of the error that ended the batch, or the one with which all works failed, else `FAILED`."""
    errors = [outcome.error for outcome in failed if outcome.error is not None]
    for error in errors:
        if ends_batch(error):
            return exit_code(error)
    # A script can only act on a code that holds for everything it asked for.
    codes = {exit_code(error) for error in errors}
    return codes.pop() if len(errors) == total and len(codes) == 1 else ExitCode.FAILED


def receipt_of(receipt: Path | None, item: BatchInput, inputs: Sequence[BatchInput]) -> Path | None:
    """Return the path for an input's receipt: the file that was named, or a separate file in the directory that was named."""
    if receipt is None or (len(inputs) == 1 and not receipt.is_dir()):
        return receipt
    if receipt.exists() and not receipt.is_dir():
        raise typer.BadParameter(
            f"--receipt {receipt} is a file. Name a directory for the receipts of {len(inputs)} inputs."
        )
    return receipt / item.below.with_name(item.below.name + ".receipt.json")


def check_directory(directory: Path | None) -> None:
    """Raise `BadParameter` if the directory for outputs is a file."""
    if directory is not None and directory.exists() and not directory.is_dir():
        raise typer.BadParameter(f"-o {directory} is a file. Name a directory.")
