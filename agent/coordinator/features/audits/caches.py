"""Whose prompt caches audit jobs and canaries share, so that no miner recognises either by them."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.audits.store.canaries import accounts_served
from agent.coordinator.store import queue
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import JobRecord
from aitbc.canonical import sha256_hex

PASSING_AS: Final = 20
"""The miner's newest jobs, as the account of one of which a canary passes."""


def shared_caches(connection: Connection, record: JobRecord) -> str | None:
    """Return under which name an audit job or a canary continues prompts, None for other jobs. An audit job continues none.

    A canary passes as a job of an account that the miner knows, because one of an unknown account, or of one that has nothing else,
    would be recognised.
    """
    restrictions = queue.restrictions_of(record)
    if restrictions.audit:
        return record.job_id
    if restrictions.canary is None:
        return None
    # A canary is submitted for one miner.
    served = accounts_served(connection, record.requested_miner_id or "", PASSING_AS)
    # Drawn from the job's id, so that a repeated attempt of the job has the same name.
    return served[int(sha256_hex(record.job_id.encode()), 16) % len(served)] if served else record.job_id
