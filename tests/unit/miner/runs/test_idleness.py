"""How capacity is used: every slot is accounted for, at every moment and over the last hour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.miner.pausing.gpu_watch import PauseCause
from agent.miner.runs.idleness import HOUR_SECONDS, LastHour, Moment, Use, uses


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (Moment(2, 2), {Use.NO_JOB: 2}),
        (Moment(2, 1, [Use.WORKING]), {Use.WORKING: 1, Use.NO_JOB: 1}),
        (Moment(1, 0, [Use.WORKING] * 3 + [Use.LOADING]), {Use.WORKING: 0.75, Use.LOADING: 0.25}),
        (Moment(2, 1, [Use.FETCHING], Use.HAND), {Use.FETCHING: 1, Use.HAND: 1}),
        (Moment(2, 2, paused=[PauseCause.SCHEDULE]), {Use.SCHEDULE: 1, Use.NO_JOB: 1}),
        (Moment(2, 1, [Use.WORKING], paused=[PauseCause.HAND]), {Use.WORKING: 1, Use.HAND: 1}),
        (Moment(2, 2, barrier=Use.OFFLINE), {Use.OFFLINE: 2}),
    ],
)
def test_slots_are_counted_by_their_use(moment: Moment, expected: dict[Use, float]) -> None:
    assert uses(moment) == expected


def test_shares_cover_the_last_hour_only() -> None:
    hour = LastHour()
    assert hour.shares(0) == {}
    hour.note(0, {Use.NO_JOB: 2})
    assert hour.shares(0) == {Use.NO_JOB: 1}
    hour.note(900, {Use.WORKING: 1, Use.NO_JOB: 1})
    assert hour.shares(1800) == {Use.NO_JOB: 0.75, Use.WORKING: 0.25}
    hour.note(1800, {Use.WORKING: 2})
    assert hour.shares(900 + HOUR_SECONDS) == {Use.WORKING: 0.875, Use.NO_JOB: 0.125}
    assert hour.shares(1e6) == {Use.WORKING: 1}


notes = st.lists(
    st.tuples(
        st.floats(0.001, 5000),
        st.dictionaries(st.sampled_from(list(Use)), st.floats(0.1, 8), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=50,
)


@given(notes)
def test_shares_sum_to_one_for_any_history(history: list[tuple[float, dict[Use, float]]]) -> None:
    hour, now = LastHour(), 0.0
    for pause, doing in history:
        now += pause
        hour.note(now, doing)
        assert sum(hour.shares(now).values()) == pytest.approx(1)


@given(
    st.integers(1, 16).flatmap(
        lambda slots: st.builds(
            Moment,
            slots=st.just(slots),
            free=st.integers(0, slots),
            stages=st.lists(st.sampled_from([Use.WORKING, Use.LOADING, Use.WAITING]), max_size=20),
            barrier=st.sampled_from([None, Use.HAND, Use.OUTBOX]),
            paused=st.lists(st.sampled_from(list(PauseCause)), max_size=4),
            per_card=st.integers(1, 4),
        )
    )
)
def test_every_slot_is_accounted_for(moment: Moment) -> None:
    assert sum(uses(moment).values()) == pytest.approx(moment.slots)
