"""Double entry: money is neither created nor lost, and no job costs more than was held."""

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
    """Return the balances that result from the entries."""
    balances: Counter[str] = Counter()
    for postings in entries:
        for posting in postings:
            balances[posting.account] += posting.amount
    return balances


@given(held=amounts, part=st.integers(0, MILLION), fee_ppm=st.integers(0, MILLION))
def test_held_money_is_divided_between_miner_operator_and_client(held: int, part: int, fee_ppm: int) -> None:
    price = held * part // MILLION
    settled = settle("a", "m", held, price, fee_ppm)
    balances = posted(hold("a", held, held), settled.entry)
    assert sum(balances.values()) == 0
    assert balances[escrow("a")] == 0
    assert balances[available("a")] == -price
    assert balances[FEES] == settled.fee == price * fee_ppm // MILLION
    assert balances[earned("m")] == price - settled.fee >= 0
    assert settled.refunded == held - price


def test_without_a_miner_everything_is_refunded() -> None:
    settled = settle("a", None, 100, 70, 10_000)
    assert posted(settled.entry) == {escrow("a"): -100, available("a"): 100}
    assert (settled.paid, settled.fee, settled.refunded) == (0, 0, 100)


@pytest.mark.parametrize("price", [-1, 101])
def test_a_price_above_the_held_amount_is_refused(price: int) -> None:
    with pytest.raises(ValueError, match="cannot be paid"):
        settle("a", "m", 100, price, 0)


def test_no_more_than_the_balance_can_be_held() -> None:
    with pytest.raises(InsufficientFunds) as refused:
        hold("a", 101, balance=100)
    assert (refused.value.balance, refused.value.needed) == (100, 101)
    assert posted(hold("a", 100, balance=100)) == {available("a"): -100, escrow("a"): 100}


def test_a_credit_is_balanced_by_the_issued_account() -> None:
    assert posted(credit("a", 5, 0)) == {ISSUED: -5, available("a"): 5}
    with pytest.raises(ValueError, match="must be positive"):
        credit("a", 0, 0)


def test_an_entry_that_does_not_sum_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        entry([Posting("x", 1), Posting("y", -2)])
    assert entry([Posting("x", 0), Posting("y", 0)]) == ()


def test_credits_are_bounded_so_that_balances_fit_64_bits() -> None:
    """No account can have more than was issued."""
    assert posted(credit("a", MAX_UNITS, 0)) == {ISSUED: -MAX_UNITS, available("a"): MAX_UNITS}
    with pytest.raises(TooMuchMoney) as refused:
        credit("a", 2, 1 - MAX_UNITS)
    assert refused.value.limit == 1
    assert 2 * MAX_UNITS > 2**63 - 1 > MAX_UNITS
