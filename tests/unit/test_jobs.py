"""The lifecycle of a job, by example and by random histories."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.jobs import (
    DEADLINE_GRACE_SECONDS,
    FINAL,
    Abandon,
    Cancel,
    Claim,
    Complete,
    Event,
    Expire,
    FailRun,
    Failure,
    Finished,
    IllegalEvent,
    Job,
    JobState,
    Outcome,
    Release,
    Renew,
    Requeued,
    RunEnded,
    apply,
)

NEW = Job(job_id="job_1", state=JobState.SUBMITTED, timeout_seconds=100, max_attempts=3)
CLAIM = Claim("miner_a", 1, 10.0, 60.0)
FAULT = Failure("MACHINE_FAULT", "The disk is full.")


def after(*events: Event, job: Job = NEW) -> Job:
    for event in events:
        job, _ = apply(job, event)
    return job


def test_a_claim_raises_the_fence_and_creates_a_lease_with_a_deadline() -> None:
    job = after(CLAIM)
    assert (job.state, job.fence, job.attempts) == (JobState.RUNNING, 1, 1)
    assert job.lease is not None
    assert (job.lease.expires_at, job.lease.deadline) == (70.0, 110.0)


def test_a_lease_cannot_be_renewed_beyond_the_grace_after_its_deadline() -> None:
    """A miner that does not end a run at its deadline loses the lease."""
    job = after(CLAIM, Renew("miner_a", 1, 1, 109.0, 60.0))
    assert job.lease is not None
    assert job.lease.expires_at == 110.0 + DEADLINE_GRACE_SECONDS


def test_only_the_newest_fence_completes() -> None:
    job = after(CLAIM, Expire(80.0, "silent", forget=True), Claim("miner_b", 1, 81.0, 60.0))
    with pytest.raises(IllegalEvent) as caught:
        apply(job, Complete("miner_a", 1, 82.0))
    assert caught.value.stale
    done, effects = apply(job, Complete("miner_b", 2, 82.0))
    assert done.state is JobState.COMPLETED
    assert Finished() in effects


def test_a_late_result_is_accepted_until_another_miner_claims_the_job() -> None:
    job = after(CLAIM, Expire(80.0, "silent"))
    assert job.state is JobState.SUBMITTED
    assert after(Complete("miner_a", 1, 90.0), job=job).state is JobState.COMPLETED


def test_a_late_heartbeat_revives_the_lease() -> None:
    job = after(CLAIM, Expire(80.0, "silent"), Renew("miner_a", 1, 1, 81.0, 60.0))
    assert job.state is JobState.RUNNING
    assert (job.fence, job.attempts) == (1, 1)


def test_a_new_session_ends_the_leases_of_the_old_one() -> None:
    job = after(CLAIM, Expire(20.0, "restarted", forget=True))
    with pytest.raises(IllegalEvent):
        apply(job, Complete("miner_a", 1, 21.0))


def test_a_machine_fault_is_retried_elsewhere_until_the_attempts_are_used_up() -> None:
    job = after(CLAIM)
    job, effects = apply(job, FailRun("miner_a", 1, 11.0, FAULT, retry=True))
    assert (job.state, job.avoid_miner_id) == (JobState.SUBMITTED, "miner_a")
    assert Requeued() in effects
    for fence in (2, 3):
        job = after(
            Claim("miner_b", 1, 12.0, 60.0), FailRun("miner_b", fence, 13.0, FAULT, retry=True), job=job
        )
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.message == "The disk is full (tried 3 times)."


def test_an_invalid_input_fails_the_job_at_once() -> None:
    job, effects = apply(
        after(CLAIM), FailRun("miner_a", 1, 11.0, Failure("INPUT_INVALID", "No audio."), retry=False)
    )
    assert job.state is JobState.FAILED
    assert any(isinstance(effect, RunEnded) and effect.outcome is Outcome.FAILED for effect in effects)


def test_handing_a_lease_back_costs_no_attempt() -> None:
    job = after(CLAIM, Release("miner_a", 1, 11.0))
    assert (job.state, job.attempts, job.lease) == (JobState.SUBMITTED, 0, None)
    assert after(CLAIM, job=job).fence == 2


def test_a_final_job_accepts_no_event() -> None:
    for final in (after(CLAIM, Complete("miner_a", 1, 11.0)), after(Cancel(5.0)), after(Abandon(5.0, FAULT))):
        for event in (
            CLAIM,
            Cancel(12.0),
            Complete("miner_a", 1, 12.0),
            Expire(12.0, "x"),
            Abandon(12.0, FAULT),
        ):
            with pytest.raises(IllegalEvent):
                apply(final, event)


miners = st.sampled_from(["miner_a", "miner_b"])
fences = st.integers(1, 6)
times = st.floats(0, 1000)
events: st.SearchStrategy[Any] = st.one_of(
    st.builds(Claim, miners, st.integers(1, 2), times, st.just(60.0)),
    st.builds(Renew, miners, fences, st.integers(1, 2), times, st.just(60.0)),
    st.builds(Complete, miners, fences, times),
    st.builds(FailRun, miners, fences, times, st.just(FAULT), st.booleans()),
    st.builds(Release, miners, fences, times),
    st.builds(Expire, times, st.just("silent"), st.booleans()),
    st.builds(Abandon, times, st.just(FAULT)),
    st.builds(Cancel, times),
)


@settings(max_examples=5 * settings().max_examples, deadline=None)
@given(st.lists(events, max_size=40))
def test_no_history_breaks_the_invariants(history: list[Event]) -> None:
    """The fence only rises, a run ends once, final states are final, and illegal events change nothing."""
    job = NEW
    ended: list[int] = []
    for event in history:
        before = dataclasses.replace(job)
        try:
            job, effects = apply(job, event)
        except IllegalEvent:
            assert job == before
            continue
        assert before.state not in FINAL
        assert job.fence == before.fence + isinstance(event, Claim)
        assert 0 <= job.attempts <= job.max_attempts
        assert (job.state is JobState.RUNNING) <= (job.lease is not None)
        assert (job.state in FINAL) == (Finished() in effects) == (job.finished_at is not None)
        assert not (job.state in FINAL and job.lease)
        if isinstance(event, Renew) and before.state is JobState.SUBMITTED:
            ended.remove(job.fence)
        for effect in effects:
            if isinstance(effect, RunEnded):
                # A late result finally ends the run that was recorded as expired.
                if before.state is JobState.SUBMITTED:
                    ended.remove(effect.lease.fence)
                assert effect.lease.fence not in ended
                ended.append(effect.lease.fence)
        if job.state is JobState.COMPLETED:
            assert isinstance(event, Complete)
            assert event.fence == job.fence
