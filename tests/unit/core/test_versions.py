"""Which versions of miners and coordinators work together."""

from __future__ import annotations

import pytest

from agent import __version__
from agent.core.versions import version_problem


@pytest.mark.parametrize(
    ("miner", "coordinator", "advice"),
    [
        ("0.2.0", "0.2.0", None),
        ("0.2.0", "0.2.7", None),
        ("0.2.0.dev3+local", "0.2.0rc1", None),
        (__version__, __version__, None),
        ("0.1.0", "0.2.0", "Update the miner's agent to version 0.2 and start it again"),
        (
            "0.1.0",
            "0.3.0",
            "works with miners from version 0.2 to version 0.4. Update the miner's agent to version 0.3",
        ),
        ("0.2.0", "0.3.0", None),
        ("0.2.0", "0.4.0", None),
        (
            "0.2.0",
            "0.5.0",
            "works with miners from version 0.3 to version 0.6. Update the miner's agent to version 0.5",
        ),
        ("0.9.3", "0.10.0", None),
        ("0.3.0", "0.2.0", None),
        ("0.4.0", "0.2.0", "Ask the coordinator's operator to update it to version 0.4"),
        ("1.2.0", "0.2.0", "Ask the coordinator's operator to update it to version 1.2"),
        ("0.2.0", "1.2.0", "Update the miner's agent to version 1.2"),
        (None, "0.2.0", "Install the same version on both sides"),
        ("0.2.0", None, "Install the same version on both sides"),
        ("newest", "newest", "Install the same version on both sides"),
        ("0.2", "0.20", "Update the miner's agent to version 0.20"),
    ],
)
def test_miners_two_minor_versions_older_or_one_newer_than_the_coordinator_work_with_it(
    miner: str | None, coordinator: str | None, advice: str | None
) -> None:
    """The sentence names both versions, and which side to update."""
    problem = version_problem(miner, coordinator)
    if advice is None:
        assert problem is None
    else:
        assert problem is not None
        assert advice in problem
        assert all((version or "unknown") in problem for version in (miner, coordinator))
