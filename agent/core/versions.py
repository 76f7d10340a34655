"""Which versions of miners and coordinators work together."""

from __future__ import annotations

import re
from typing import Final

_MINOR: Final = re.compile(r"(\d{1,9})\.(\d{1,9})(?![0-9])")
GUIDE: Final = "docs/how-to/operate.md#upgrade"
FIRST: Final = (0, 2)
"""The first version that works with others than its own."""
OLDER_MINERS: Final = 2
"""By how many minor versions a miner may be older than its coordinator."""
NEWER_MINERS: Final = 1
"""By how many minor versions a miner may be newer than its coordinator."""


def version_problem(miner: str | None, coordinator: str | None) -> str | None:
    """Return why a miner and a coordinator of these versions do not work together, and what to do; None if they do.

    They do if their major versions are the same and the miner is at most two minor versions older or one newer. None stands
    for an unknown version.
    """
    of_miner, of_coordinator = _minor(miner), _minor(coordinator)
    if of_miner is None or of_coordinator is None:
        return f"{_versions(miner, coordinator)}. Install the same version on both sides ({GUIDE})."
    if of_miner == of_coordinator:
        return None
    major, minor = of_coordinator
    oldest = max((major, minor - OLDER_MINERS), FIRST)
    newest = (major, minor + NEWER_MINERS)
    if min(of_miner, of_coordinator) >= FIRST and oldest <= of_miner <= newest:
        return None
    versions = (
        f"{_versions(miner, coordinator)}: it works with miners from {_series(oldest)} to {_series(newest)}."
        if of_coordinator >= FIRST
        else f"{_versions(miner, coordinator)}: it works with its own version only."
    )
    if of_miner < of_coordinator:
        return (
            f"{versions} Update the miner's agent to {_series(of_coordinator)} and start it again ({GUIDE})."
        )
    return (
        f"{versions} Ask the coordinator's operator to update it to {_series(of_miner)}; the miner then joins by itself. "
        f"Or install {_series(of_coordinator)} on the miner ({GUIDE})."
    )


def _versions(miner: str | None, coordinator: str | None) -> str:
    return f"The miner's version, {miner or 'unknown'}, does not work with the coordinator's, {coordinator or 'unknown'}"


def _minor(version: str | None) -> tuple[int, int] | None:
    match = _MINOR.match(version or "")
    return None if match is None else (int(match[1]), int(match[2]))


def _series(minor: tuple[int, int]) -> str:
    return f"version {minor[0]}.{minor[1]}"
