"""Which versions of miners and coordinators work together."""

from __future__ import annotations

import re
from typing import Final

_MINOR: Final = re.compile(r"(\d{1,9})\.(\d{1,9})(?![0-9])")
GUIDE: Final = "docs/how-to/operate.md#upgrade"


def version_problem(miner: str | None, coordinator: str | None) -> str | None:
    """Return why a miner and a coordinator of these versions do not work together, and what to do; None if they do.

    They do if major and minor version are the same. None stands for an unknown version.
    """
    of_miner, of_coordinator = _minor(miner), _minor(coordinator)
    if of_miner is not None and of_miner == of_coordinator:
        return None
    versions = (
        f"The miner's version, {miner or 'unknown'}, does not work with the coordinator's, {coordinator or 'unknown'}: "
        "the first two numbers must be the same."
    )
    if of_miner is None or of_coordinator is None:
        return f"{versions} Install the same version on both sides ({GUIDE})."
    if of_miner < of_coordinator:
        return (
            f"{versions} Update the miner's agent to {_series(of_coordinator)} and start it again ({GUIDE})."
        )
    return (
        f"{versions} Ask the coordinator's operator to update it to {_series(of_miner)}; the miner then joins by itself. "
        f"Or install {_series(of_coordinator)} on the miner ({GUIDE})."
    )


def _minor(version: str | None) -> tuple[int, int] | None:
    match = _MINOR.match(version or "")
    return None if match is None else (int(match[1]), int(match[2]))


def _series(minor: tuple[int, int]) -> str:
    return f"version {minor[0]}.{minor[1]}"
