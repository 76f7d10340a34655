"""The states of an update: every sequence of steps leaves a version that works, and a failed version is noted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.updates.states import (
    MAX_ATTEMPTS,
    MAX_FAILED,
    IllegalStep,
    Phase,
    TrialReport,
    UpdateEnding,
    UpdateState,
    describe,
)

STEPS = {
    "prepare": lambda state: state.prepare("2", "1"),
    "refuse": lambda state: state.refuse("1", "no signature", 1.0),
    "reject": lambda state: state.reject("it does not start", 1.0, lasting=True),
    "reject for now": lambda state: state.reject("the disk is full", 1.0, lasting=False),
    "prepared": lambda state: state.prepared(),
    "due": lambda state: state.make_due(),
    "begin": lambda state: state.begin("backup"),
    "postpone": lambda state: state.postpone(),
    "succeed": lambda state: state.succeed(),
    "fail": lambda state: state.fail("its jobs fail"),
    "finish": lambda state: state.finish(2.0),
    "roll back": lambda state: state.roll_back("2"),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=40))
def test_any_sequence_of_steps(names: list[str]) -> None:
    """An illegal step changes nothing; the state survives its file; only a version that has passed its trial becomes the current one."""
    state, passed = UpdateState(), False
    for name in names:
        before = state
        try:
            state = STEPS[name](state)
        except IllegalStep:
            assert state == before
            continue
        assert UpdateState.from_json(json.loads(json.dumps(state.to_json()))) == state
        passed = passed or name == "succeed"
        if state.decided == "2":
            assert passed
            assert before.phase in {Phase.TRIAL, Phase.PASSED}
        assert state.attempts <= MAX_ATTEMPTS
        assert state.phase is Phase.IDLE or state.version
        if before.phase is Phase.RETURNING and state.phase is Phase.IDLE:
            assert before.version in state.failed
        if state.phase is Phase.TRIAL:
            # What a trial needs to end: it can pass, fail, and be interrupted.
            assert state.succeed().finish(3.0).previous == state.former
            assert state.fail("").finish(3.0).last is not None
        describe(state, "1")


@given(st.lists(st.sampled_from(["begin", "postpone"]), min_size=1, max_size=30))
def test_a_trial_is_not_repeated_for_ever(names: list[str]) -> None:
    """Interruptions end it; stops by its owner do not count."""
    state = UpdateState().prepare("2", "1").prepared().make_due()
    interrupted = 0
    for name in names:
        if state.phase is Phase.RETURNING:
            break
        if name == "begin":
            state = state.begin(None)
            interrupted += 1
        elif state.phase is Phase.TRIAL:
            state = state.postpone()
            interrupted -= 1
        assert state.phase is Phase.RETURNING or interrupted <= MAX_ATTEMPTS
    assert interrupted <= MAX_ATTEMPTS + 1


def test_the_copy_of_the_database_is_from_before_the_first_trial() -> None:
    """A trial that begins again finds a database that the first one may have migrated."""
    state = UpdateState().prepare("2", "1").prepared().make_due().begin("before")
    assert state.begin("after").backup == "before"
    assert state.postpone().begin(None).backup == "before"


def test_what_an_owner_can_return_to() -> None:
    """The version before the last update, once, with the copy of its database."""
    updated = UpdateState().prepare("2", "1").prepared().make_due().begin("copy").succeed().finish(1.0)
    returning = updated.roll_back("2")
    assert (returning.decided, returning.backup) == ("1", "copy")
    ended = returning.finish(2.0)
    assert ended.last is not None
    assert ended.last.ending is UpdateEnding.ROLLED_BACK
    assert "2" in ended.failed
    with pytest.raises(IllegalStep):
        ended.roll_back("1")


def test_versions_that_failed_are_bounded() -> None:
    state = UpdateState()
    for number in range(MAX_FAILED + 5):
        state = state.prepare(str(number), "1").reject("x" * 5000, 1.0, lasting=True)
    assert len(state.failed) == MAX_FAILED
    assert str(MAX_FAILED + 4) in state.failed


def test_a_newer_version_may_add_fields() -> None:
    values = {**UpdateState().prepare("2", "1").to_json(), "added": 1}
    assert UpdateState.from_json(values).version == "2"


@pytest.mark.parametrize(
    ("report", "over", "verdict"),
    [
        (TrialReport(), False, None),
        (TrialReport(), True, False),
        (TrialReport(ready=True), False, None),
        (TrialReport(ready=True), True, True),
        (TrialReport(ready=True, completed=1), False, True),
        (TrialReport(ready=True, completed=1, faults=1), False, None),
        (TrialReport(ready=True, completed=1, faults=1), True, True),
        (TrialReport(ready=True, faults=1), True, False),
        (TrialReport(ready=True, faults=2), False, False),
    ],
)
def test_verdicts(report: TrialReport, over: bool, verdict: bool | None) -> None:
    """A job proves that a version works, two failed ones that it does not; without jobs, registration must do."""
    assert report.verdict(over=over) is verdict
    if verdict is False:
        assert report.problem(5)


def test_words_for_the_owner() -> None:
    trial = UpdateState().prepare("2", "1").prepared().make_due().begin(None)
    assert "1 returns" in describe(trial, "1")
    assert describe(trial.fail("its jobs fail").finish(1.0), "1").endswith("1 has returned: its jobs fail")
    assert describe(replace(UpdateState(), failed={"2": "x"}), "1") == ""
