"""`aitbc-agent`: one file per command; the only package that composes the coordinator and the miner."""

from agent.cli.application import main

__all__ = ["main"]
