"""The histories of `support.histories.jobs` with offers, which are created, accepted, withdrawn, and expire."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from agent.coordinator.features.offers import acceptance, offers, store
from agent.coordinator.features.offers.acceptance import AcceptRequest
from agent.coordinator.features.offers.fields import OfferNotAvailable
from agent.coordinator.features.offers.offers import OfferRequest
from agent.coordinator.features.offers.rules import Offer
from agent.coordinator.operations.callers import Caller
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import miners as miner_store
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Conflict
from agent.core.jobs import JobState
from agent.core.values.quantities import Money
from aitbc.answers.accounts import Role
from support.histories.jobs import LEASE_SECONDS, MINERS, Histories, pick, which

pytestmark = pytest.mark.chaos

SHARDS = 2
PRICE = Money("0.0005")
MAX_OFFERS = 4


class OfferHistories(Histories):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.offer_ids: list[str] = []

    def offer_id_of(self, job_id: str) -> str | None:
        return self.do(self.context.database.read(store.of_job, job_id))

    def offer_of(self, offer_id: str) -> Offer:
        offer = self.do(self.context.database.read(store.find, offer_id))
        assert offer is not None
        return offer

    @rule(which=which, max_jobs=st.integers(1, 2))
    def offer(self, which: int, max_jobs: int) -> None:
        """Create an offer for these histories' jobs, below the miner's configured price."""
        if len(self.offer_ids) == MAX_OFFERS:
            return
        request = OfferRequest(
            job_type="whisper-transcription", price=PRICE, max_jobs=max_jobs, duration=int(2 * LEASE_SECONDS)
        )
        owner = Caller(Role.MINER, miner_id=self.miners[which].identity.miner_id)
        self.offer_ids.append(self.do(offers.create(self.context, owner, request)).offer_id)

    def one_offer(self, pick: int) -> str:
        if not self.offer_ids:
            self.offer(pick % MINERS, 1)
        return self.offer_ids[pick % len(self.offer_ids)]

    @rule(job=pick, offer=pick)
    def accept(self, job: int, offer: int) -> None:
        """Accept an offer for a job; repeating the request changes nothing."""
        offer_id = self.one_offer(offer)
        request = AcceptRequest(job_id=self.job_ids[job % len(self.job_ids)], bid_price=PRICE)
        before, jobs_left = self.job(request.job_id), self.offer_of(offer_id).jobs_left or 0
        former_id = self.offer_id_of(request.job_id)
        again = former_id == offer_id
        try:
            answer = self.do(acceptance.accept(self.context, self.client, offer_id, request))
        except Conflict:
            assert not again
            assert before.life.state is not JobState.SUBMITTED or former_id is not None
        except OfferNotAvailable:
            assert not again
            assert before.life.state is JobState.SUBMITTED
        else:
            assert again or before.life.state is JobState.SUBMITTED
            assert answer == self.do(acceptance.accept(self.context, self.client, offer_id, request))
            assert self.offer_id_of(request.job_id) == offer_id
            jobs_left -= not again
        assert self.offer_of(offer_id).jobs_left == jobs_left

    @rule(pick=pick)
    def withdraw(self, pick: int) -> None:
        offer = self.offer_of(self.one_offer(pick))
        owner = Caller(Role.MINER, miner_id=offer.miner_id)
        answer = self.do(offers.withdraw(self.context, owner, offer.offer_id))
        assert answer.status in ("withdrawn", "expired")
        assert answer == self.do(offers.withdraw(self.context, owner, offer.offer_id))

    @rule()
    def tidy(self) -> None:
        """Let offers expire, and release jobs from the offers of absent miners."""
        self.do(acceptance.tidy(self.context))
        waits = self.context.settings.offer_wait_seconds
        for record in self.jobs():
            offer_id = self.offer_id_of(record.job_id)
            if offer_id is not None and record.life.state is JobState.SUBMITTED:
                assert self.seen_at(self.offer_of(offer_id).miner_id) >= self.clock() - waits

    def seen_at(self, miner_id: str) -> float:
        miner = self.do(self.context.database.read(miner_store.find, miner_id))
        assert miner is not None
        return miner.seen_at

    @invariant()
    def every_job_of_an_offer_is_accounted_for(self) -> None:
        """Check that the remaining jobs of an offer and its queued, running and completed jobs add up to its total.

        A job under an offer runs on the offer's miner at the offer's price.
        """
        if not self.offer_ids:
            return
        by_id, offer_ids, records = self.do(self.context.database.read(_market, self.offer_ids, self.job_ids))
        unused = (JobState.FAILED, JobState.CANCELLED)
        used = Counter(offer_ids.get(record.job_id) for record in records if record.life.state not in unused)
        for offer in by_id.values():
            assert offer.jobs_left is not None
            assert offer.jobs_left >= 0
            assert offer.jobs_left + used[offer.offer_id] == offer.max_jobs
        for record in records:
            offer_id = offer_ids.get(record.job_id)
            if offer_id is None:
                assert record.requested_miner_id is record.agreed_price is None
                continue
            offer = by_id[offer_id]
            assert (record.requested_miner_id, record.agreed_price) == (offer.miner_id, offer.price)
            if record.life.state is JobState.RUNNING:
                assert (record.miner_id, record.unit_price) == (offer.miner_id, offer.price)


def _market(
    connection: Connection, offer_ids: list[str], job_ids: list[str]
) -> tuple[dict[str, Offer], dict[str, str], list[JobRecord]]:
    """Return the offers by id, the ids of the offers of jobs, and the jobs."""
    listed = [offer for offer_id in offer_ids if (offer := store.find(connection, offer_id)) is not None]
    records = job_store.find_many(connection, job_ids)
    return (
        {offer.offer_id: offer for offer in listed},
        store.of_jobs(connection, job_ids),
        list(records.values()),
    )


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_histories_with_offers(shard: int) -> None:
    """After each of about 750 steps the tables are consistent, and the jobs of every offer are accounted for.

    Every day has its own histories. Set `HISTORIES_SEED`, which a failure prints, to repeat those of one shard.
    """
    number = int(os.environ.get("HISTORIES_SEED", date.today().toordinal() * SHARDS + shard))  # noqa: DTZ011 - any day will do
    print(f"HISTORIES_SEED={number}")  # noqa: T201 - pytest shows it when the test fails
    seed(number)(OfferHistories)
    Histories.steps = 0
    run_state_machine_as_test(
        OfferHistories,
        settings=settings(
            max_examples=15,
            stateful_step_count=80,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert Histories.steps > 300


@pytest.fixture
def market() -> Iterator[OfferHistories]:
    """One job, and a miner's offer for one job."""
    history = OfferHistories()
    history.begin([3])
    history.offer(which=0, max_jobs=1)
    yield history
    history.teardown()


def jobs_left(history: OfferHistories) -> int | None:
    history.every_job_of_an_offer_is_accounted_for()
    return history.offer_of(history.offer_ids[0]).jobs_left


def test_a_job_leaves_an_offer_whose_miner_stays_offline(market: OfferHistories) -> None:
    """It waits until the miner counts as offline. Then another miner gets it, and the offer accepts a job again."""
    market.accept(job=0, offer=0)
    market.miners[0].online = False
    market.claim(slots=1, lost=False)
    assert not market.leases_of("working")
    assert jobs_left(market) == 0
    market.restart_coordinator(away=3600.0)
    market.tidy()
    market.claim(slots=1, lost=False)
    ((_, lease),) = market.leases_of("working")
    assert (lease["job_id"], lease["unit_price"]) == (market.job_ids[0], "0.001")
    assert jobs_left(market) == 1


def test_a_job_under_an_offer_returns_to_its_miner_after_a_failure(market: OfferHistories) -> None:
    """Other miners are online, but the client has chosen. After it has finally failed, the offer accepts a job again."""
    market.accept(job=0, offer=0)
    for attempt in (1, 2, 3):
        market.claim(slots=1, lost=False)
        ((miner, lease),) = market.leases_of("working")
        assert (miner, lease["attempt"]) == (market.miners[0], attempt)
        market.fail(0, kind="retry", units=None, repeated=False)
        market.wait(20.0, expire=True)
    assert market.job(market.job_ids[0]).life.state is JobState.FAILED
    assert jobs_left(market) == 1
