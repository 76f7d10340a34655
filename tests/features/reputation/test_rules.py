"""Reputation: what changes it, what does not, and that docs/explanation/reputation.md is correct."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.coordinator.features.reputation.rules import (
    HALF_LIFE_SECONDS,
    NOTHING,
    RETAINED_SHARE,
    SANCTION_WEIGHT,
    Evidence,
    Verdict,
    exchange,
    judge,
    learn,
    score,
    shown,
)
from agent.core.jobs import (
    Abandon,
    Cancel,
    Claim,
    Complete,
    Event,
    Expire,
    FailRun,
    Failure,
    Job,
    JobState,
    Release,
    Renew,
    apply,
)

DAY = 86_400.0
VERDICTS = -1
"""The client as which verdicts of audits count."""
PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "reputation.md"


class Record:
    """A miner's evidence as in the store: a total, and each client's part."""

    def __init__(self) -> None:
        self.total = NOTHING
        self.clients: dict[int, Evidence] = {}
        self.now = 0.0

    def runs(self, client: int, count: int, *, success: bool = True, weight: float = 1.0) -> None:
        for _ in range(count):
            before = self.clients.get(client, NOTHING)
            after = learn(before, success, self.now, weight)
            self.total = exchange(self.total, before, after)
            self.clients[client] = after

    def wait(self, seconds: float) -> None:
        self.now += seconds

    @property
    def score(self) -> float:
        return score(self.total, self.now)


steps = st.lists(
    st.tuples(
        st.integers(0, 3), st.booleans(), st.integers(1, 60), st.sampled_from((0.0, 60.0, DAY, 90 * DAY))
    ),
    max_size=40,
)


@given(steps)
def test_reputation_stays_between_zero_and_five_and_moves_in_the_right_direction(
    history: list[tuple[int, bool, int, float]],
) -> None:
    """No success lowers it, no failure raises it, and a miner's evidence is the sum of its clients'."""
    record = Record()
    for client, success, count, seconds in history:
        record.wait(seconds)
        before = record.score
        record.runs(client, count, success=success)
        assert 0 <= record.score <= 5
        assert record.score >= before - 1e-9 if success else record.score <= before + 1e-9
        parts = list(record.clients.values())
        faded = [0.5 ** ((record.now - part.at) / HALF_LIFE_SECONDS) for part in parts]
        good = sum(part.good * share for part, share in zip(parts, faded, strict=True))
        bad = sum(part.bad * share for part, share in zip(parts, faded, strict=True))
        assert (record.total.good, record.total.bad) == pytest.approx((good, bad), abs=1e-6)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 500)), max_size=20))
def test_the_influence_of_one_client_is_limited(history: list[tuple[bool, int]]) -> None:
    """The number of its jobs does not matter: a miner gains little by sending jobs to itself, and loses little to one bad client."""
    record = Record()
    for success, count in history:
        record.runs(0, count, success=success)
    assert 1.0 <= record.score < 4.34
    assert record.total.good + record.total.bad <= 1 / (1 - RETAINED_SHARE) + 1e-6
    well_known = Record()
    for client in range(1, 21):
        well_known.runs(client, 20)
    before = well_known.score
    for success, count in history:
        well_known.runs(0, count, success=success)
    assert well_known.score > before - 0.4


def test_recent_behaviour_weighs_more() -> None:
    """Of the same runs, failures at the end give the lower score, and old failures decay with time."""
    improving, declining = Record(), Record()
    for record, order in ((improving, (False, True)), (declining, (True, False))):
        for success in order:
            record.runs(0, 10, success=success)
    assert declining.score < 3 < improving.score
    before = declining.score
    declining.wait(60 * DAY)
    assert before < declining.score < 3


def test_a_clock_that_steps_backward_changes_nothing() -> None:
    record = Record()
    record.runs(0, 5)
    assert score(record.total, -1000.0) == record.score


# Who is responsible for a change of a job ------------------------------------------------------------------------------

FRESH = Job("job_1", JobState.SUBMITTED, timeout_seconds=100, max_attempts=3)
FAILURE = Failure("CODE", "words")
CLAIM = Claim("a", 1, 0.0, 60.0)
EXPIRE = Expire(61.0, "late")


def verdicts_of(*events: Event, job: Job = FRESH) -> list[Verdict]:
    """Return the verdicts on all changes of a history, in order."""
    verdicts = []
    for event in events:
        after, effects = apply(job, event)
        verdict = judge(job, after, effects)
        verdicts += [] if verdict is None else [verdict]
        job = after
    return verdicts


FOR_A, AGAINST_A = Verdict("a", success=True), Verdict("a", success=False, failed=True)
OTHER = Claim("b", 1, 62.0, 60.0)


@pytest.mark.parametrize(
    ("events", "verdicts"),
    [
        ((CLAIM, Complete("a", 1, 5.0)), [FOR_A]),
        ((CLAIM, FailRun("a", 1, 5.0, FAILURE, retry=True)), [AGAINST_A]),
        ((CLAIM, FailRun("a", 1, 5.0, FAILURE, retry=False)), []),
        ((CLAIM, Release("a", 1, 5.0)), []),
        # A miner that hands back too many leases is blamed, but none of these runs has failed.
        ((CLAIM, Release("a", 1, 5.0, blamed=True)), [Verdict("a", success=False)]),
        ((CLAIM, Cancel(5.0)), []),
        ((Cancel(5.0),), []),
        ((Abandon(5.0, FAILURE),), []),
        ((CLAIM, Expire(5.0, "a new session", forget=True)), [AGAINST_A]),
        # An expired lease counts once its work is lost: when another miner claims the job, or the lease is dropped.
        ((CLAIM, EXPIRE), []),
        ((CLAIM, EXPIRE, OTHER), [AGAINST_A]),
        ((CLAIM, EXPIRE, OTHER, Complete("b", 2, 70.0)), [AGAINST_A, Verdict("b", success=True)]),
        ((CLAIM, EXPIRE, Expire(62.0, "a new session", forget=True)), [AGAINST_A]),
        ((CLAIM, EXPIRE, Release("a", 1, 62.0)), [AGAINST_A]),
        ((CLAIM, EXPIRE, FailRun("a", 1, 62.0, FAILURE, retry=True)), [AGAINST_A]),
        # No other miner claimed the job in between, and the result arrived late.
        ((CLAIM, EXPIRE, Complete("a", 1, 70.0)), [FOR_A]),
        ((CLAIM, EXPIRE, Renew("a", 1, 1, 70.0, 60.0), Complete("a", 1, 80.0)), [FOR_A]),
        ((CLAIM, EXPIRE, FailRun("a", 1, 62.0, FAILURE, retry=False)), []),
        ((CLAIM, EXPIRE, Cancel(62.0)), []),
    ],
)
def test_each_outcome_counts_for_or_against_the_right_miner(
    events: tuple[Event, ...], verdicts: list[Verdict]
) -> None:
    """Failures by the client do not count, and every other run counts once."""
    assert verdicts_of(*events) == verdicts


def test_the_last_attempt_that_expires_counts_at_once() -> None:
    """The job has failed: no miner will claim it, and no result is accepted any more."""
    assert verdicts_of(CLAIM, EXPIRE, job=replace(FRESH, max_attempts=1)) == [AGAINST_A]


# The page for miners --------------------------------------------------------------------------------------------------


def worked_examples() -> dict[str, str]:
    """Return the table of docs/explanation/reputation.md: a history, and the reputation after it."""
    rows = re.findall(r"^\| (.+?) +\| (\d\.\d\d) +\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def play(words: str) -> str:
    """Carry out an example sentence by sentence, and return the reputation after it."""
    record = Record()
    pattern = re.compile(
        r"(\d+) (good|failed) runs? for (?:each of (\d+) clients|one client|(a new client))|(\d+) days without work"
        r"|(\d+) (passed audits|proven lies?)"
    )
    for count, kind, clients, new, days, audits, outcome in pattern.findall(words):
        if audits:
            passed = outcome == "passed audits"
            record.runs(VERDICTS, int(audits), success=passed, weight=1.0 if passed else SANCTION_WEIGHT)
            continue
        if days:
            record.wait(int(days) * DAY)
            continue
        first = len(record.clients) if new else 0  # the verdicts count as a client of their own
        for client in range(first, first + int(clients or 1)):
            record.runs(client, int(count), success=kind == "good")
    return f"{shown(record.total, record.now):.2f}"


def test_the_worked_examples_are_what_the_program_computes() -> None:
    examples = worked_examples()
    assert len(examples) >= 8
    assert {words: play(words) for words in examples} == examples
