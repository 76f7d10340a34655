"""Ids of batches that the commands' arguments name."""

from __future__ import annotations

from agent.cli import local_api
from agent.settings import Settings
from aitbc.cli._arguments.lookup import NamedCandidate, find


def find_batch(settings: Settings, named: str) -> str:
    """Return the id of a batch of payouts; its name is its note. Raises `NoSuchName` and `AmbiguousName`."""

    def candidates() -> list[NamedCandidate]:
        with local_api.administrator(settings) as client:
            batches = client.payouts.batches(limit=local_api.PAGE).batches
        # Only drafts have no id, and they are not stored.
        return [NamedCandidate(str(batch.batch_id), batch.note, batch.status) for batch in batches]

    return find("batch", named, candidates, "aitbc-agent payouts list")
