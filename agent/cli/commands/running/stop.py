"""`aitbc-agent stop`: stop the running agent and wait until its process has ended."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated, Final

import psutil
import typer

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_result, settings_from
from agent.core.errors import AgentError
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings

MARGIN_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.5


def stop(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    now: Annotated[
        bool,
        typer.Option("--now", help="Return running jobs to the coordinator instead of waiting for them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the agent. Running jobs may finish within the drain time; the rest are returned to the coordinator.

    Examples:
      aitbc-agent stop
    """
    settings = settings_from(data_dir, config)
    pid = agent_file.read(settings).pid
    _stop(settings, pid, now=now)
    print_result({"pid": pid, "stopped": True}, "The agent has stopped.", as_json=as_json)


def stop_agent(settings: Settings) -> None:
    """Stop the agent of these settings if one is running. Raises `AgentError` if it does not end."""
    if agent_file.is_running(settings):
        _stop(settings, agent_file.read(settings).pid)


def _stop(settings: Settings, pid: int, *, now: bool = False) -> None:
    with suppress(psutil.NoSuchProcess):  # it has ended in the meantime
        process = psutil.Process(pid)
        process.terminate()
        if now:
            process.terminate()
        _wait(process, section_of(settings, MinerSettings).drain_seconds + MARGIN_SECONDS)


def _wait(process: psutil.Process, seconds: float) -> None:
    """Wait until the process has ended, even if its parent has not reaped it. Raises `AgentError`."""
    end = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            raise AgentError(f"The agent (process {process.pid}) is still running. See its log.")
        with suppress(psutil.TimeoutExpired):
            process.wait(POLL_SECONDS)
