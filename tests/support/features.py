"""Which features of the coordinator there are: tests that need another one than their own say so by the mark `needs`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "agent/coordinator/features"
OPTIONAL: Final = (
    "anthropic",
    "audits",
    "batches",
    "conversations",
    "history",
    "image_edits",
    "offers",
    "ollama",
    "openai",
    "payouts",
    "reranking",
    "s3",
    "sealing",
    "speech",
    "tokens",
    "tus",
    "waits",
    "webhooks",
)
"""The features without which the coordinator works. `scripts/test --without NAME` removes one."""


def is_installed(name: str) -> bool:
    """Return whether the feature has not been removed."""
    return (FOLDER / name).is_dir()


def all_installed() -> bool:
    """Return whether there are all of this version's features."""
    return all(map(is_installed, OPTIONAL))
