"""`aitbc-agent`: one file a command group; the only place that composes the rest."""

from agent.cli.application import main

__all__ = ["main"]
