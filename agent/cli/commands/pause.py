"""`aitbc-agent pause`, `resume` and `drain`: the owner takes the machine back, for a while or until further notice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.core.errors import AgentError, ConfigurationError
from agent.core.values.durations import format_duration, parse_duration
from agent.miner.control import ask

LOOK_SECONDS: Final = 0.5
WHOLE: Final = "miner"

GpuOption = Annotated[
    str | None, typer.Option("--gpu", help="Only this GPU: its number, or its UUID or the beginning of it.")
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
        typer.Option("--for", parser=_duration, metavar="TIME", help="End by itself: 2h, 1h30m, 45m."),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Do not let running jobs end; hand them back to the coordinator.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take no more jobs, also after a restart, until `resume`. Idle models leave the GPU's memory; running jobs end."""
    answer = _ask(data_dir, config, "pause", gpu=gpu, seconds=seconds, now=now)
    if as_json:
        print_json(answer)
        return
    what = "The miner" if gpu is None else f"GPU {gpu}"
    typer.echo(f"{what} is paused{'' if seconds is None else f' for {format_duration(seconds)}'}.")
    if answer["handed_back"]:
        typer.echo(f"Jobs handed back: {answer['handed_back']}.")
    elif answer["running"]:
        typer.echo(f"Jobs that still run: {answer['running']}. `aitbc-agent drain --wait` waits for them.")


def resume(
    gpu: GpuOption = None, data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Take jobs again. A schedule that pauses now is ignored until its window ends."""
    answer = _ask(data_dir, config, "resume", gpu=gpu)
    if as_json:
        print_json(answer)
        return
    left = answer[WHOLE] or next(iter(answer["gpus"].values()), None)
    if left is None:
        typer.echo("The miner takes jobs again.")
    elif answer[WHOLE] is not None:
        typer.echo(f"The miner is still paused {left['words']}.")
    else:
        typer.echo(f"The miner takes jobs again, but a GPU is still paused {left['words']}.")


def drain(
    wait: Annotated[bool, typer.Option("--wait", help="Until running jobs have ended and are paid.")] = False,
    limit: Annotated[
        float, typer.Option("--limit", parser=_duration, metavar="TIME", help="How long to wait at most.")
    ] = "1d",  # type: ignore[assignment]  # typer parses the default as it does what is given
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take no more jobs until `resume`, and let the running ones end."""
    settings = settings_from(data_dir, config)
    answer = _ask(data_dir, config, "pause", gpu=None, seconds=None, now=False)
    running = answer["running"]
    if not wait:
        if as_json:
            print_json({"drained": running == 0, "running": running})
        else:
            typer.echo(_words(running))
        return
    if running and not as_json:
        typer.echo(_words(running))
    left = asyncio.run(_wait(settings.data_dir, limit))
    if left:
        raise AgentError(f"After {format_duration(limit)} there is still work: {left}.")
    if as_json:
        print_json({"drained": True, "running": 0})
    else:
        typer.echo("Drained: nothing runs, and everything has been sent.")


async def _wait(data_dir: Path, limit: float) -> str | None:
    """What is left after `limit` seconds; None as soon as nothing is."""
    end = time.monotonic() + limit
    while True:
        status = await ask(data_dir, "status")
        jobs, results = len(status["leases"]), status["outbox"]
        if not jobs and not results:
            return None
        if time.monotonic() > end:
            return f"{jobs} jobs, {results} results to send"
        await asyncio.sleep(LOOK_SECONDS)


def _words(running: int) -> str:
    return f"Nothing more is taken. Jobs that still run: {running}."


def _ask(data_dir: Path | None, config: Path | None, call: str, **fields: Any) -> dict[str, Any]:
    settings = settings_from(data_dir, config)
    if agent_file.read(settings).miner_id is None:
        raise ConfigurationError("This agent runs no miner: it is only a coordinator.")
    return asyncio.run(ask(settings.data_dir, call, **fields))
