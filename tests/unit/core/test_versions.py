"""Which versions of miners and coordinators work together."""

from __future__ import annotations

import pytest

from agent import __version__
from agent.core.versions import client_problem, series, standing, version_advice, version_problem


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


@pytest.mark.parametrize(
    ("version", "coordinator", "state", "advice"),
    [
        ("0.5.1", "0.5.0", "current", None),
        ("0.6.0", "0.5.0", "newer", None),
        ("0.4.0", "0.5.0", "behind", "gets no jobs that only newer versions understand. Update its agent"),
        ("0.3.9", "0.5.0", "ending", "next minor version, version 0.6, will refuse it. Update its agent"),
        ("0.2.0", "0.3.0", "behind", "is older than the coordinator's, 0.3.0"),
        ("0.2.0", "0.4.0", "ending", "version 0.5, will refuse it"),
        ("0.2.0", "0.5.0", "refused", None),
        ("0.7.0", "0.5.0", "refused", None),
        (None, "0.5.0", "refused", None),
    ],
)
def test_an_older_version_is_advised_to_update_before_it_is_refused(
    version: str | None, coordinator: str, state: str, advice: str | None
) -> None:
    assert standing(version, coordinator) == state
    words = version_advice(version, coordinator)
    assert words is None if advice is None else advice in str(words)
    if state != "refused":
        major, minor = map(int, series(coordinator).split("."))
        survives = version_problem(version, f"{major}.{minor + 1}.0") is None
        assert survives is (state != "ending")


@pytest.mark.parametrize(
    ("client", "coordinator", "problem"),
    [
        ("0.2.0", "0.3.0", None),
        ("0.9.0", "0.3.0", None),
        ("0.2.0", "0.4.7", None),
        ("0.2.0", "0.5.0", "serves clients from version 0.3 on. Update the library to version 0.5"),
        ("0.1.0", "0.3.0", "serves clients from version 0.2 on"),
        ("0.9.0", "1.1.0", "serves clients from version 1.0 on"),
        ("newest", "0.3.0", None),
    ],
)
def test_a_client_library_is_served_up_to_two_minor_versions_after_its_own(
    client: str, coordinator: str, problem: str | None
) -> None:
    words = client_problem(client, coordinator)
    assert words is None if problem is None else problem in str(words)
