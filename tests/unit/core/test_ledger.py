"""Double entry: nothing is made, nothing is lost, nobody pays more than was held."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.market.ledger import (
    FEES,
    ISSUED,
    MAX_UNITS,
    MILLION,
    Entry,
    InsufficientFunds,
    Posting,
    TooMuchMoney,
    available,
    credit,
    earned,
    entry,
    escrow,
    hold,
    settle,
)

amounts = st.integers(0, 10**18)


def posted(*entries: Entry) -> Counter[str]:
    """The balances that some entries add up to."""
    balances: Counter[str] = Counter()
    for postings in entries:
        for posting in postings:
            balances[posting.account] += posting.amount
    return balances


@given(held=amounts, part=st.integers(0, MILLION), fee_ppm=st.integers(0, MILLION))
def test_what_was_held_goes_to_the_miner_the_operator_and_back_to_the_client(
    held: int, part: int, fee_ppm: int
) -> None:
    price = held * part // MILLION
    settled = settle("a", "m", held, price, fee_ppm)
    balances = posted(hold("a", held, held), settled.entry)
    assert sum(balances.values()) == 0
    assert balances[escrow("a")] == 0
    assert balances[available("a")] == -price
    assert balances[FEES] == settled.fee == price * fee_ppm // MILLION
    assert balances[earned("m")] == price - settled.fee >= 0
    assert settled.refunded == held - price


def test_without_a_miner_all_of_it_goes_back() -> None:
    settled = settle("a", None, 100, 70, 10_000)
    assert posted(settled.entry) == {escrow("a"): -100, available("a"): 100}
    assert (settled.paid, settled.fee, settled.refunded) == (0, 0, 100)


@pytest.mark.parametrize("price", [-1, 101])
def test_a_price_beyond_what_is_held_is_refused(price: int) -> None:
    with pytest.raises(ValueError, match="cannot be paid"):
        settle("a", "m", 100, price, 0)


def test_nobody_holds_more_than_they_have() -> None:
    with pytest.raises(InsufficientFunds) as refused:
        hold("a", 101, balance=100)
    assert (refused.value.balance, refused.value.needed) == (100, 101)
    assert posted(hold("a", 100, balance=100)) == {available("a"): -100, escrow("a"): 100}


def test_a_credit_has_its_counterpart() -> None:
    assert posted(credit("a", 5, 0)) == {ISSUED: -5, available("a"): 5}
    with pytest.raises(ValueError, match="must be positive"):
        credit("a", 0, 0)


def test_an_entry_that_does_not_sum_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        entry([Posting("x", 1), Posting("y", -2)])
    assert entry([Posting("x", 0), Posting("y", 0)]) == ()


def test_no_more_is_issued_than_sums_of_it_can_be_counted_exactly() -> None:
    """No account can have more than was issued, so no balance leaves 64 bits either."""
    assert posted(credit("a", MAX_UNITS, 0)) == {ISSUED: -MAX_UNITS, available("a"): MAX_UNITS}
    with pytest.raises(TooMuchMoney) as refused:
        credit("a", 2, 1 - MAX_UNITS)
    assert refused.value.most == 1
    assert 2 * MAX_UNITS > 2**63 - 1 > MAX_UNITS
