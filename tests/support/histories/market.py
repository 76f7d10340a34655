"""The histories of `support.histories.jobs` with a marketplace: offers are created, accepted, withdrawn, and expire."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.market import marketplace, offers
from agent.coordinator.operations.market.marketplace import AcceptRequest
from agent.coordinator.operations.market.offers import OfferRequest
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import miners as miner_store
from agent.coordinator.store import offers as store
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Conflict, OfferNotAvailable
from agent.core.jobs import JobState
from agent.core.market.offers import Offer
from agent.core.values.quantities import Money
from support.histories.jobs import LEASE_SECONDS, MINERS, Histories, pick, which

PRICE = Money("0.0005")
MAX_OFFERS = 4


class MarketHistories(Histories):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.offer_ids: list[str] = []

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
        again = before.offer_id == offer_id
        try:
            answer = self.do(marketplace.accept(self.context, self.client, offer_id, request))
        except Conflict:
            assert not again
            assert before.life.state is not JobState.SUBMITTED or before.offer_id is not None
        except OfferNotAvailable:
            assert not again
            assert before.life.state is JobState.SUBMITTED
        else:
            assert again or before.life.state is JobState.SUBMITTED
            assert answer == self.do(marketplace.accept(self.context, self.client, offer_id, request))
            assert self.job(request.job_id).offer_id == offer_id
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
        self.do(marketplace.tidy(self.context))
        waits = self.context.settings.offer_wait_seconds
        for record in self.jobs():
            if record.offer_id is not None and record.life.state is JobState.SUBMITTED:
                assert self.seen_at(self.offer_of(record.offer_id).miner_id) >= self.clock() - waits

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
        made, records = self.do(self.context.database.read(_market, self.offer_ids, self.job_ids))
        unused = (JobState.FAILED, JobState.CANCELLED)
        used = Counter(record.offer_id for record in records if record.life.state not in unused)
        for offer in made.values():
            assert offer.jobs_left is not None
            assert offer.jobs_left >= 0
            assert offer.jobs_left + used[offer.offer_id] == offer.max_jobs
        for record in records:
            if record.offer_id is None:
                assert record.requested_miner_id is record.agreed_price is None
                continue
            offer = made[record.offer_id]
            assert (record.requested_miner_id, record.agreed_price) == (offer.miner_id, offer.price)
            if record.life.state is JobState.RUNNING:
                assert (record.miner_id, record.unit_price) == (offer.miner_id, offer.price)


def _market(
    connection: Connection, offer_ids: list[str], job_ids: list[str]
) -> tuple[dict[str, Offer], list[JobRecord]]:
    made = [offer for offer_id in offer_ids if (offer := store.find(connection, offer_id)) is not None]
    records = job_store.find_many(connection, job_ids)
    return {offer.offer_id: offer for offer in made}, list(records.values())
