"""How long a replica waits for the server."""

from __future__ import annotations

import pytest

from agent.coordinator.features.replicas.patience import LONGEST, RECENT_SECONDS, SHORTEST, ReplyPatience


def test_without_delays_it_is_short() -> None:
    patience = ReplyPatience()
    assert patience.limit(0.0) == SHORTEST
    patience.note(0.01, 1.0)
    assert patience.limit(1.0) == SHORTEST


@pytest.mark.parametrize(
    ("delay", "limit"), [(0.75, 1.5), (0.76, 3.0), (2.0, 6.0), (4.0, 12.0), (600.0, LONGEST)]
)
def test_it_is_twice_the_longest_delay_up_to_a_limit(delay: float, limit: float) -> None:
    patience = ReplyPatience()
    for noted in (0.1, delay, 0.2):
        patience.note(noted, 1.0)
    assert patience.limit(1.0) == limit


def test_each_answer_that_comes_too_late_doubles_it() -> None:
    patience = ReplyPatience()
    limits = []
    for now in range(4):
        limits.append(patience.limit(now))
        patience.note(limits[-1] + 0.01, now)
    assert limits == [1.5, 6.0, 12.0, 12.0]


def test_it_forgets_delays_that_are_over() -> None:
    patience = ReplyPatience()
    patience.note(4.0, 0.0)
    patience.note(1.0, 10.0)
    assert patience.limit(10.0) == 12.0
    assert patience.limit(RECENT_SECONDS + 5) == 3.0
    assert patience.limit(RECENT_SECONDS + 15) == SHORTEST
