"""`aitbc-agent health`: the health check of containers and services."""

from __future__ import annotations

import asyncio

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, ConfigFile, DataDir, print_result, settings_from
from agent.miner.control import ask


def health(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the health of the running agent. Exit code 1: it is unhealthy or not ready yet.

    A miner that is paused or cannot reach its coordinator is healthy, and so is a coordinator whose disk is nearly full or whose
    PostgreSQL does not answer: a restart would not help.

    Examples:
      aitbc-agent health && echo healthy
    """
    settings = settings_from(data_dir, config)
    agent = agent_file.read(settings)
    parts: dict[str, str] = {}
    healthy = True
    if agent.admin_key is not None:
        with local_api.administrator(settings) as client:
            answer = client.health()
        parts["coordinator"] = answer.status
        other_parts = {"storage", "database", "blockchain"} if settings.database.on_postgres else {"storage"}
        healthy = all(
            state == "healthy" for part, state in answer.services.items() if part not in other_parts
        )
    if agent.miner_id is not None:
        miner = asyncio.run(ask(settings.data_dir, "status"))
        parts["miner"] = "stopping" if miner["stopping"] else f"ok, {miner['connection']}"
    words = "; ".join(f"{part}: {state}" for part, state in parts.items())
    print_result(parts, words, as_json=as_json)
    if not healthy:
        raise typer.Exit(1)
