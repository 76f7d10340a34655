"""`aitbc-agent stop`: end the running agent and wait until it has."""

from __future__ import annotations

from typing import Annotated, Final

import psutil
import typer

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.core.errors import AgentError

MARGIN_SECONDS: Final = 30.0


def stop(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for running jobs; hand them back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the agent: running jobs may end first, what is left is handed back."""
    settings = settings_from(data_dir, config)
    agent = agent_file.read(settings)
    try:
        process = psutil.Process(agent.pid)
        process.terminate()
        if now:
            process.terminate()
        process.wait(settings.miner.drain_seconds + MARGIN_SECONDS)
    except psutil.NoSuchProcess:  # it ended by itself meanwhile
        pass
    except psutil.TimeoutExpired:
        raise AgentError(
            f"The agent (process {agent.pid}) still runs; its log says what it waits for."
        ) from None
    if as_json:
        print_json({"pid": agent.pid, "stopped": True})
    else:
        typer.echo("The agent has stopped.")
