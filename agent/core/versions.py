"""Which versions of miners and coordinators work together."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

_MINOR: Final = re.compile(r"(\d{1,9})\.(\d{1,9})(?![0-9])")
GUIDE: Final = "docs/how-to/operate.md#upgrade"
FIRST: Final = (0, 2)
"""The first version that works with others than its own."""
OLDER_MINERS: Final = 2
"""By how many minor versions a miner or a client may be older than its coordinator."""
NEWER_MINERS: Final = 1
"""By how many minor versions a miner may be newer than its coordinator."""


Standing: TypeAlias = Literal["current", "newer", "behind", "ending", "refused"]
"""A miner's or a client's minor version beside its coordinator's: the same, newer, older, older and refused by the next version, refused."""


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
    oldest = _oldest(of_coordinator)
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


def standing(miner: str | None, coordinator: str) -> Standing:
    """Return how a miner's version stands to its coordinator's."""
    of_miner, of_coordinator = _minor(miner), _minor(coordinator)
    if of_miner is None or of_coordinator is None or version_problem(miner, coordinator) is not None:
        return "refused"
    if of_miner >= of_coordinator:
        return "current" if of_miner == of_coordinator else "newer"
    major, minor = of_coordinator
    return "ending" if of_miner < (major, minor + 1 - OLDER_MINERS) else "behind"


def version_advice(miner: str | None, coordinator: str) -> str | None:
    """Return what the owner of a miner with an older version should do, None if its version is the coordinator's or newer, or is refused."""
    state, of_coordinator = standing(miner, coordinator), _minor(coordinator)
    if of_coordinator is None or state not in ("behind", "ending"):
        return None
    next_one = _series((of_coordinator[0], of_coordinator[1] + 1))
    consequence = (
        f"The coordinator's next minor version, {next_one}, will refuse it."
        if state == "ending"
        else "It gets no jobs that only newer versions understand."
    )
    return f"The miner's version, {miner}, is older than the coordinator's, {coordinator}. {consequence} Update its agent ({GUIDE})."


def client_problem(client: str, coordinator: str) -> str | None:
    """Return why a coordinator does not serve a client library of this version, and what to do; None if it does, or if a version is unknown.

    It serves those of its own major version, but for those that are more than two minor versions older, or older than the first version.
    """
    of_client, of_coordinator = _minor(client), _minor(coordinator)
    if of_client is None or of_coordinator is None or of_client >= oldest_client(coordinator):
        return None
    return (
        f"This client library, version {client}, is too old for the coordinator, version {coordinator}, which serves clients from "
        f"{_series(oldest_client(coordinator))} on. Update the library to {_series(of_coordinator)}, for example with `pip install -U aitbc`."
    )


def oldest_client(coordinator: str) -> tuple[int, int]:
    """Return the oldest minor version of client libraries that a coordinator serves."""
    return _oldest(_minor(coordinator) or FIRST)


def series(version: str | None) -> str:
    """Return the first two numbers of a version, such as "0.3"; "unknown" for none."""
    minor = _minor(version)
    return "unknown" if minor is None else f"{minor[0]}.{minor[1]}"


def _versions(miner: str | None, coordinator: str | None) -> str:
    return f"The miner's version, {miner or 'unknown'}, does not work with the coordinator's, {coordinator or 'unknown'}"


def _oldest(coordinator: tuple[int, int]) -> tuple[int, int]:
    """Return the oldest minor version that a coordinator serves."""
    major, minor = coordinator
    return max((major, max(minor - OLDER_MINERS, 0)), FIRST)


def _minor(version: str | None) -> tuple[int, int] | None:
    match = _MINOR.match(version or "")
    return None if match is None else (int(match[1]), int(match[2]))


def _series(minor: tuple[int, int]) -> str:
    return f"version {minor[0]}.{minor[1]}"
