"""The rules of audits."""

from __future__ import annotations

import importlib
import math
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.coordinator.features.audits.rules import (
    MAX_ERROR,
    MOST_OPINIONS,
    SERIES,
    AuditKind,
    Counts,
    Decision,
    Opinion,
    Standing,
    UnprovenCause,
    Verdict,
    after_second_opinion,
    decide,
    error_probability,
    is_proven,
    share,
    surcharge,
    tail,
)
from agent.core.market.ledger import divided

FLOOR = 0.05
BOUND = 0.0015
verdicts = st.sampled_from(Verdict)


def opinions(*found: Verdict) -> list[Opinion]:
    return [Opinion(f"miner_{number}", verdict) for number, verdict in enumerate(found)]


@given(st.lists(verdicts, max_size=400))
def test_the_share_stays_between_floor_and_one_and_only_passes_lower_it(found: list[Verdict]) -> None:
    standing, last = Standing(), 1.0
    for verdict in found:
        standing = standing.after(AuditKind.CHECK, verdict, "llm 1")
        now = share(standing, "llm 1", FLOOR)
        assert FLOOR <= now <= 1
        assert {Verdict.PASS: now <= last, Verdict.FAIL: now == 1, Verdict.UNPROVEN: now == last}[verdict]
        last = now


def test_a_miner_is_trusted_slowly_and_a_new_engine_starts_over() -> None:
    standing = Standing()
    assert share(standing, "llm 1", FLOOR) == 1
    for _ in range(380):
        standing = standing.after(AuditKind.CHECK, Verdict.PASS, "llm 1")
    assert share(standing, "llm 1", FLOOR) == pytest.approx(FLOOR)
    assert share(standing, "llm 2", FLOOR) == 1
    # The failures before count on, so that a new version hides none of them.
    failed = standing.after(AuditKind.CHECK, Verdict.FAIL, "llm 1").after(
        AuditKind.CHECK, Verdict.PASS, "llm 2"
    )
    assert (failed.organic.failed, failed.passes) == (1, 1)


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 1000))
def test_the_tail_is_the_exact_binomial_tail(checked: int, failed: int, per_mille: int) -> None:
    bound = Fraction(per_mille, 1000)
    exact = sum(
        math.comb(checked, i) * bound**i * (1 - bound) ** (checked - i) for i in range(failed, checked + 1)
    )
    assert tail(checked, failed, float(bound)) == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("bound", [0.0005, BOUND, 0.02])
def test_an_honest_miner_is_sanctioned_with_less_than_the_promised_probability_however_often_one_looks(
    bound: float,
) -> None:
    """The exact probability over a series, by the distribution of the failures of miners that are not yet sanctioned."""
    alive, sanctioned, least = [1.0], 0.0, 2
    for checked in range(1, SERIES + 1):
        while not is_proven(Counts(checked, least), bound):
            least += 1
        following = [0.0] * (len(alive) + 1)
        for failed, weight in enumerate(alive):
            following[failed] += weight * (1 - bound)
            following[failed + 1] += weight * bound
        sanctioned += sum(following[least:])
        alive = following[:least]
    assert 0 < sanctioned < MAX_ERROR / 2


def test_one_failure_never_sanctions() -> None:
    assert not is_proven(Counts(1, 1), 1e-9)
    assert is_proven(Counts(2, 2), 1e-4)
    assert not is_proven(Counts(100, 3), BOUND)
    assert is_proven(Counts(3, 3), BOUND)
    assert error_probability(Counts(3, 3), BOUND) == pytest.approx(8 * BOUND**3)


def test_a_series_ends() -> None:
    assert Counts(SERIES, 4).plus(failed=True) == Counts(1, 1)
    assert Counts(1, 1).less_a_failure() == Counts()


@pytest.mark.parametrize(
    ("found", "recheck", "decision"),
    [
        ((), False, None),
        ((Verdict.PASS,), False, Decision(Verdict.PASS)),
        ((Verdict.PASS,), True, None),
        ((Verdict.FAIL,), False, None),
        ((Verdict.UNPROVEN,), False, None),
        ((Verdict.UNPROVEN, Verdict.UNPROVEN), False, Decision(Verdict.UNPROVEN)),
        ((Verdict.UNPROVEN, Verdict.UNPROVEN), True, None),
        ((Verdict.UNPROVEN, Verdict.UNPROVEN, Verdict.UNPROVEN), True, Decision(Verdict.UNPROVEN)),
        ((Verdict.UNPROVEN, Verdict.PASS), False, None),
        ((Verdict.PASS, Verdict.UNPROVEN), False, None),
        ((Verdict.UNPROVEN, Verdict.FAIL), False, None),
        ((Verdict.UNPROVEN, Verdict.FAIL, Verdict.FAIL), False, Decision(Verdict.FAIL, (), ("miner_0",))),
        ((Verdict.PASS, Verdict.UNPROVEN, Verdict.PASS), False, Decision(Verdict.PASS, (), ("miner_1",))),
        (
            (Verdict.FAIL, Verdict.UNPROVEN, Verdict.PASS, Verdict.FAIL),
            False,
            Decision(Verdict.FAIL, ("miner_2",), ("miner_1",)),
        ),
        ((Verdict.FAIL, *[Verdict.UNPROVEN] * 3), False, None),
        ((Verdict.FAIL, *[Verdict.UNPROVEN] * 4), False, Decision(Verdict.UNPROVEN)),
        ((Verdict.FAIL, Verdict.FAIL), False, Decision(Verdict.FAIL)),
        ((Verdict.FAIL, Verdict.PASS), False, None),
        ((Verdict.FAIL, Verdict.UNPROVEN), False, None),
        ((Verdict.FAIL, Verdict.PASS, Verdict.PASS), False, Decision(Verdict.PASS, ("miner_0",))),
        ((Verdict.PASS, Verdict.FAIL, Verdict.FAIL), True, Decision(Verdict.FAIL, ("miner_0",))),
        ((Verdict.FAIL, Verdict.PASS, Verdict.FAIL), False, Decision(Verdict.FAIL, ("miner_1",))),
        ((Verdict.PASS, Verdict.PASS), True, Decision(Verdict.PASS)),
    ],
)
def test_what_opinions_decide(found: tuple[Verdict, ...], recheck: bool, decision: Decision | None) -> None:
    assert decide(opinions(*found), recheck=recheck) == decision


@given(st.lists(verdicts, min_size=1, max_size=MOST_OPINIONS), st.booleans())
def test_opinions_decide_in_the_end_and_no_auditor_decides_alone_against_a_miner(
    found: list[Verdict], recheck: bool
) -> None:
    """Nor against another auditor, and what was decided follows from the opinions alone."""
    for count in range(1, len(found) + 1):
        decision = decide(opinions(*found[:count]), recheck=recheck)
        if decision is not None:
            break
    last = decide(opinions(*found[:count]), others_can_audit=False)
    assert last is not None
    assert decision in (None, last)
    assert decision is not None or count < MOST_OPINIONS
    if last.verdict is Verdict.FAIL:
        assert found.count(Verdict.FAIL) >= 2
    if last.odd_ones or last.refuted:
        assert found.count(last.verdict) >= 2


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((Verdict.UNPROVEN,), Verdict.UNPROVEN),
        ((Verdict.FAIL, Verdict.UNPROVEN), Verdict.UNPROVEN),
        ((Verdict.FAIL, Verdict.PASS), Verdict.UNPROVEN),
        ((Verdict.UNPROVEN, Verdict.PASS), Verdict.PASS),
        ((Verdict.PASS, Verdict.UNPROVEN), Verdict.PASS),
    ],
)
def test_without_others_to_ask_what_there_is_decides(found: tuple[Verdict, ...], verdict: Verdict) -> None:
    decision = decide(opinions(*found), recheck=True, others_can_audit=False)
    assert decision == Decision(verdict)


def test_the_miner_has_caused_it_if_half_of_those_say_so_who_prove_nothing() -> None:
    def cause(*causes: UnprovenCause) -> UnprovenCause:
        found = [Opinion(f"miner_{n}", Verdict.UNPROVEN, cause) for n, cause in enumerate(causes)]
        nobody = Opinion("", Verdict.UNPROVEN)
        decision = decide([*found, nobody], others_can_audit=False)
        assert decision is not None
        return decision.cause

    assert cause() is cause(UnprovenCause.OTHER) is UnprovenCause.OTHER
    assert (
        cause(UnprovenCause.MINER) is cause(UnprovenCause.MINER, UnprovenCause.OTHER) is UnprovenCause.MINER
    )
    assert cause(UnprovenCause.MINER, UnprovenCause.OTHER, UnprovenCause.OTHER) is UnprovenCause.OTHER


def test_unproven_audits_are_counted_and_fail_only_if_the_registration_is_contradicted() -> None:
    standing = Standing(engine="llm 1", passes=9)
    for cause in UnprovenCause:
        standing = standing.after(AuditKind.CHECK, Verdict.UNPROVEN, "llm 1", cause)
        assert (standing.passes == 0) == (cause is UnprovenCause.REGISTRATION)
    assert (standing.unproven, standing.at_fault, standing.organic) == (3, 2, Counts(1, 1))
    auditor = Standing().after_opinion(Verdict.UNPROVEN).after_opinion(Verdict.UNPROVEN)
    assert (auditor.unproven, auditor.at_fault, auditor.refuted_in_row) == (2, 0, 0)
    refuted = auditor.after_refutation()
    assert (refuted.unproven, refuted.at_fault, refuted.refuted_in_row) == (2, 1, 1)
    assert replace(refuted, refuted_in_row=0) == refuted.after_opinion(Verdict.PASS)


def test_a_second_opinion_that_passes_takes_the_proof_away() -> None:
    assert after_second_opinion(Verdict.FAIL, Verdict.PASS) is Verdict.UNPROVEN
    assert after_second_opinion(Verdict.FAIL, Verdict.FAIL) is Verdict.FAIL
    assert after_second_opinion(Verdict.FAIL, Verdict.UNPROVEN) is Verdict.FAIL


@given(st.integers(0, 10**15), st.sampled_from([0.0, 0.5, 10.0, 25.0, 100.0]), st.data())
def test_a_maximum_cost_covers_the_job_and_its_audit(cost: int, percent: float, data: st.DataObject) -> None:
    budget, reserved = divided(cost, percent)
    assert budget + reserved == cost
    assert min(budget, reserved) >= 0
    price = data.draw(st.integers(0, budget))
    charged = surcharge(price, budget, reserved)
    assert price + charged <= cost
    assert charged <= price * percent / 100 * (1 + 1e-9) + 1 + reserved / max(1, budget)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the simulation of miners and their auditors."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    return importlib.import_module("measuring.audits.network")


def test_a_miner_that_lies_in_a_fifth_of_its_jobs_is_sanctioned_within_a_hundred(network: ModuleType) -> None:
    found = [network.simulate([network.HONEST] * 10, 0.2, seed).sanctioned for seed in range(500)]
    assert sum(number is None for number in found) <= 2


def test_a_miner_that_always_lies_is_sanctioned_after_three_jobs(network: ModuleType) -> None:
    found = [network.simulate([network.HONEST] * 10, 1.0, seed) for seed in range(50)]
    assert {(one.sanctioned, one.audits) for one in found} == {(3, 3)}


@pytest.mark.parametrize("count", [1, 3])
def test_auditors_that_always_prove_nothing_save_no_liar_and_earn_little(
    network: ModuleType, count: int
) -> None:
    """They are asked only until others have refuted them a few times."""
    kinds = [network.SILENT] * count + [network.HONEST] * (10 - count)
    liars = [network.simulate(kinds, 1.0, seed) for seed in range(100)]
    assert all(one.sanctioned is not None and one.sanctioned <= 6 for one in liars)
    honest = network.simulate(kinds, 0.0, 1, jobs=5000)
    assert honest.sanctioned is None
    silent = [one for one in honest.auditors if one.kind == network.SILENT]
    comparisons = sum(one.earned for one in honest.auditors) / len(honest.auditors)
    assert all(one.earned < comparisons / 5 for one in silent)


def test_honest_miners_are_never_sanctioned_in_2000_audits_at_the_bound_of_the_calibration() -> None:
    for seed in range(20):
        rng, counts = random.Random(seed), Counts()  # noqa: S311 - a simulation
        for _ in range(2000):
            counts = counts.plus(rng.random() < BOUND)
            assert not is_proven(counts, BOUND)
