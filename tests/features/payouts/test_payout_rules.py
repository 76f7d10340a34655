"""Who is paid how much: nobody more than the balance that is not on hold, and every amount has a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.coordinator.features.payouts.rules import (
    BATCHES,
    DAY_SECONDS,
    PAYMENTS,
    PayoutCandidate,
    PayoutEvent,
    Terms,
    choose,
    effective_at,
    first_held_day,
    next_pause,
    outcome_of,
    pay_out,
    payout,
    post_back,
    reserve,
)
from agent.core.market.ledger import ISSUED, Posting, earned
from aitbc.answers.payouts import Omitted, PaymentState
from aitbc.leaves.payouts import converted

units = st.integers(-(10**12), 10**12)
candidates = st.lists(
    st.builds(
        PayoutCandidate,
        miner_id=st.integers(0, 10**6).map("m{}".format),
        address=st.sampled_from([None, "a"]),
        balance=units,
        held_back=st.integers(0, 10**12),
        known_since=st.sampled_from([1.0, 3.0]),
        excluded=st.booleans(),
    ),
    unique_by=lambda one: one.miner_id,
    max_size=12,
)


def terms(**changes: Any) -> Terms:
    values: dict[str, Any] = {
        "minimum": 100,
        "known_before": 2.0,
        "max_payments": 3,
        "convert": lambda amount: converted(Decimal(amount), Decimal("0.01"), 2),
    }
    return Terms(**{**values, **changes})


@given(found=candidates)
def test_each_miner_with_money_is_paid_once_or_has_a_reason(found: list[PayoutCandidate]) -> None:
    selection = choose(found, terms())
    paid = [one.miner_id for one in selection.payments]
    omitted = [miner_id for miner_id, _, _ in selection.omitted]
    assert sorted(paid + omitted) == sorted(one.miner_id for one in found if one.balance > 0)
    assert paid == sorted(paid)
    assert len(paid) <= 3
    by_id = {one.miner_id: one for one in found}
    for one in selection.payments:
        candidate = by_id[one.miner_id]
        assert 100 <= one.amount == candidate.balance - candidate.held_back <= candidate.balance
        assert one.sent_amount <= Decimal(one.amount) / 100 < one.sent_amount + Decimal("0.01")
        assert (candidate.address, candidate.excluded, candidate.known_since) == ("a", False, 1.0)
    for _, amount, reason in selection.omitted:
        if reason is Omitted.BATCH_FULL:
            assert len(paid) == 3
            assert amount <= min(one.amount for one in selection.payments)


def test_the_reasons_name_what_is_missing() -> None:
    found = [
        PayoutCandidate("excluded", "a", 500, 0, 1.0, excluded=True),
        PayoutCandidate("few", "a", 99, 0, 1.0),
        PayoutCandidate("held", "a", 500, 500, 1.0),
        PayoutCandidate("new", "a", 500, 0, 3.0),
        PayoutCandidate("nowhere", None, 500, 0, 1.0),
    ]
    reasons = {miner_id: reason.value for miner_id, _, reason in choose(found, terms()).omitted}
    assert reasons == {
        "excluded": "excluded", "few": "below_minimum", "held": "on_hold", "new": "new", "nowhere": "no_address"
    }  # fmt: skip
    tiny = choose([PayoutCandidate("m", "a", 500, 0, 1.0)], terms(convert=lambda _: Decimal(0)))
    assert [reason for _, _, reason in tiny.omitted] == [Omitted.BELOW_MINIMUM]


@given(cut_off=st.floats(0, 1e9), hold=st.floats(0, 1e7), now=st.floats(0, 1e9), earned_at=st.floats(0, 1e9))
def test_nothing_is_paid_before_its_hold_ends(
    cut_off: float, hold: float, now: float, earned_at: float
) -> None:
    first_day = first_held_day(cut_off, hold, now)
    is_held = first_day is not None and earned_at // DAY_SECONDS >= first_day
    if earned_at <= now and earned_at > min(cut_off, now) - hold:
        assert is_held
    if earned_at + DAY_SECONDS <= min(cut_off, now) - hold:
        assert not is_held
    assert first_held_day(now, 0, now) is None


@given(amount=st.integers(1, 10**18))
def test_the_entries_of_a_payment_sum_to_zero(amount: int) -> None:
    for entry in (reserve("m", "b", amount), pay_out("b", amount), post_back("m", "b", amount)):
        assert sum(posting.amount for posting in entry) == 0
    assert reserve("m", "b", amount)[0] == Posting(earned("m"), -amount)
    assert Posting(ISSUED, amount) in pay_out("b", amount)
    assert Posting(payout("b"), -amount) in post_back("m", "b", amount)


def test_final_states_are_final() -> None:
    for table in (BATCHES, PAYMENTS):
        assert not any(state.final for state, _ in table)
    reached = {PaymentState.CREATED} | set(PAYMENTS.values())
    assert reached == set(PaymentState)


def test_a_batch_ends_when_all_its_payments_have() -> None:
    confirmed, failed, sent = PaymentState.CONFIRMED, PaymentState.FAILED, PaymentState.SENT
    assert outcome_of([confirmed, sent]) is None
    assert outcome_of([confirmed, confirmed]) is PayoutEvent.CONFIRM
    assert outcome_of([confirmed, failed]) is PayoutEvent.FAIL


def test_pauses_and_delays() -> None:
    assert [next_pause(failures, 5, 60) for failures in (1, 2, 3, 5, 1000)] == [5, 10, 20, 60, 60]
    assert effective_at(100, first=True, unchanged=False, delay_seconds=10) == 100
    assert effective_at(100, first=False, unchanged=True, delay_seconds=10) == 100
    assert effective_at(100, first=False, unchanged=False, delay_seconds=10) == 110
