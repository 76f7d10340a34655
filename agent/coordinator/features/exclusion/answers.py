"""The answer about a removed miner, which has the fields of other features."""

from __future__ import annotations

from agent.coordinator import job_fields
from aitbc.answers.miners import PlainRemoval


class Removal(job_fields.RemovalFields, PlainRemoval):
    """A removed miner, and the number of its jobs that were queued again."""
