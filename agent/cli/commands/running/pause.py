"""`aitbc-agent pause`, `resume` and `drain`: stop and resume accepting jobs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, print_result, settings_from
from agent.core.errors import AgentError, ConfigurationError
from agent.core.values.durations import format_duration, parse_duration
from agent.miner.control import ask

POLL_SECONDS: Final = 0.5
WHOLE: Final = "miner"

GpuOption = Annotated[
    str | None,
    typer.Option("--gpu", help="Only this GPU: its index, its UUID, or the beginning of its UUID."),
]


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def pause(
    gpu: GpuOption = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for",
            parser=_duration,
            metavar="TIME",
            help="Resume automatically after this time: 2h, 1h30m, 45m.",
        ),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Return running jobs to the coordinator instead of finishing them.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop accepting jobs until `resume`, even after a restart. Running jobs finish; idle models are unloaded.

    Examples:
      aitbc-agent pause
      aitbc-agent pause --for 2h
      aitbc-agent pause --gpu 0 --now
    """
    answer = _ask(data_dir, config, "pause", gpu=gpu, seconds=seconds, now=now)
    if as_json:
        print_json(answer)
        return
    paused = "The miner" if gpu is None else f"GPU {gpu}"
    typer.echo(f"{paused} is paused{'' if seconds is None else f' for {format_duration(seconds)}'}.")
    if answer["handed_back"]:
        typer.echo(f"Jobs returned to the coordinator: {answer['handed_back']}.")
    elif answer["running"]:
        typer.echo(f"Jobs still running: {answer['running']}. `aitbc-agent drain --wait` waits for them.")


def resume(
    gpu: GpuOption = None, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Accept jobs again. A schedule that is pausing the miner is ignored until its current window ends.

    Examples:
      aitbc-agent resume
      aitbc-agent resume --gpu 0
    """
    answer = _ask(data_dir, config, "resume", gpu=gpu)
    remaining_pause = answer[WHOLE] or next(iter(answer["gpus"].values()), None)
    if remaining_pause is None:
        words = "The miner accepts jobs again."
    elif answer[WHOLE] is not None:
        words = f"The miner is still paused {remaining_pause['words']}."
    else:
        words = f"The miner accepts jobs again, but a GPU is still paused {remaining_pause['words']}."
    print_result(answer, words, as_json=as_json)


def drain(
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until running jobs are finished and paid.")
    ] = False,
    limit: Annotated[
        float, typer.Option("--limit", parser=_duration, metavar="TIME", help="Longest wait.")
    ] = "1d",  # type: ignore[assignment]  # typer parses the default like an argument
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop accepting jobs until `resume`, and let running jobs finish.

    Examples:
      aitbc-agent drain --wait && aitbc-agent stop
    """
    settings = settings_from(data_dir, config)
    answer = _ask(data_dir, config, "pause", gpu=None, seconds=None, now=False)
    running = answer["running"]
    draining = f"The miner accepts no more jobs. Jobs still running: {running}."
    if not wait:
        print_result({"drained": running == 0, "running": running}, draining, as_json=as_json)
        return
    if running and not as_json:
        typer.echo(draining)
    remaining_jobs = asyncio.run(_wait(settings.data_dir, limit))
    if remaining_jobs:
        raise AgentError(
            f"The miner is not drained after {format_duration(limit)}. Still left: {remaining_jobs}."
        )
    words = "Drained: no job is running, and all results are sent."
    print_result({"drained": True, "running": 0}, words, as_json=as_json)


async def _wait(data_dir: Path, limit: float) -> str | None:
    """Wait until no work is left, or describe the work that is left after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        status = await ask(data_dir, "status")
        jobs, results = len(status["leases"]), status["outbox"]
        # A finished job is paid only when its result has arrived, so unsent results count as work.
        if not jobs and not results:
            return None
        if time.monotonic() > end:
            return f"{jobs} running jobs, {results} unsent results"
        await asyncio.sleep(POLL_SECONDS)


def _ask(data_dir: Path | None, config: Path | None, call: str, **fields: Any) -> dict[str, Any]:
    settings = settings_from(data_dir, config)
    if agent_file.read(settings).miner_id is None:
        raise ConfigurationError("This agent is a coordinator without a miner, so there is nothing to pause.")
    return asyncio.run(ask(settings.data_dir, call, **fields))
