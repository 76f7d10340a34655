"""The model of a command to which none was passed."""

from __future__ import annotations

import typer

from aitbc._client import AITBCClient


def default_model(client: AITBCClient, service_id: str) -> str:
    """Return a model that a miner has now, preferably one that has run here before. Raises `BadParameter` if no miner has one."""
    service = client.registry.get(service_id)
    ready: list[str] = service.get("ready", [])
    measured = [str(duration["model"]) for duration in service.get("durations", ()) if duration.get("model")]
    # One that is loaded or on disk answers within seconds; another one may have to be downloaded first.
    for model in (*(model for model in measured if model in ready), *ready, *measured):
        return model
    raise typer.BadParameter(
        f"No miner has a model for this yet. Choose one with --model: {', '.join(service.get('models', ()))}."
    )
