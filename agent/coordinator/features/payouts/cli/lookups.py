"""Ids of batches that the commands' arguments name."""

from __future__ import annotations

from agent.cli import local_api
from agent.settings import Settings
from aitbc.cli._arguments.lookup import Candidate, find


def find_batch(settings: Settings, named: str) -> str:
    """Return the id of a batch of payouts; its name is its note. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[Candidate]:
        batches = local_api.call(settings, "GET", "admin/payouts?limit=500")["batches"]
        return [Candidate(batch["batch_id"], batch["note"], batch["status"]) for batch in batches]

    return find("batch", named, candidates, "aitbc-agent payouts list")
