"""What the document says in words: of the API as a whole, and of each group of calls."""

from __future__ import annotations

from typing import Final

SUMMARY: Final = (
    "Jobs for GPUs: submitted by clients, run by miners, paid once, with receipts that anybody can verify."
)

DESCRIPTION: Final = """\
Every path answers under `/v1/...` and `/api/v1/...`.
"""

TAGS: Final = [
    {"name": "Jobs", "description": "A job is one request for a service."},
    {"name": "Services", "description": "One call per service; each creates a job of its kind."},
    {
        "name": "Service registry",
        "description": "Which services there are, what they take and what they need.",
    },
    {"name": "Artifacts", "description": "Input and output files, addressed by their SHA-256."},
    {
        "name": "Receipts",
        "description": "The miner's signed word on what it ran, with the coordinator's attestations.",
    },
    {
        "name": "Wallet",
        "description": "What an account can spend, what a miner has earned, and every payment.",
    },
    {"name": "Health", "description": "Whether the coordinator works."},
    {"name": "Administration", "description": "Accounts, keys, enrolment tokens."},
    {
        "name": "Miner protocol",
        "description": "What miners call; docs/miner-protocol.md explains it as a whole.",
    },
]
