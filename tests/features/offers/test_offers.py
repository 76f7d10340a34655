"""Offers over HTTP: miners create them, clients accept them, and jobs run under them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agent.coordinator.features.offers import acceptance
from agent.coordinator.store import events as event_store
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 2, "processing_time": 0.5}
REFERENCE_JOB = {
    "name": "image-classification",
    "type": "ai-inference",
    "model": {"type": "python", "entrypoint": "model.py"},
    "pricing": {"max_cost": "0.10"},
}
OFFER = {
    "job_type": "image-classification",
    "price": "0.001",
    "max_jobs": 10,
    "requirements": {"min_gpu_memory": "4Gi", "min_cpu": "2000m"},
    "duration": 3600,
}
WHISPER_OFFER = {"job_type": "whisper-transcription", "price": "0.0005", "max_jobs": 2, "duration": 3600}


@dataclass
class OwnedMiner(ScriptedMiner):
    """A miner with a client that uses its owner's key."""

    owner: httpx.Client = field(init=False)

    def join(self, **changes: Any) -> None:
        answer = self.register(**changes)
        assert answer.status_code == 200
        self.owner = httpx.Client(base_url=self.url, headers={"X-API-Key": answer.json()["api_key"]})

    def offer(self, status: int = 201, **changes: Any) -> dict[str, Any]:
        answer = self.owner.post("/v1/marketplace/offers", json={**WHISPER_OFFER, **changes})
        assert answer.status_code == status, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def claim(self) -> dict[str, Any]:
        """Return the next lease, repeating polls that return only a cancellation."""
        while not (leases := self.poll()):
            pass
        return leases[0]

    def beat(self, **fields: Any) -> None:
        assert self.http.post("/heartbeat", json={"leases": [], "gpus": [], **fields}).is_success


@pytest.fixture
def miner(served: Served) -> OwnedMiner:
    miner = OwnedMiner(served.url)
    miner.join()
    return miner


def priced(price: str) -> dict[str, Any]:
    """Return capabilities with this unit price for every service."""
    offered = capabilities()
    for service in offered["services"].values():
        service["unit_price"] = price
    return offered


def waiting_job(client: httpx.Client, **changes: Any) -> str:
    """Submit a job that no miner gets yet, because it waits for its model's file, and return its id."""
    answer = client.post("/v1/jobs", json={**REFERENCE_JOB, "wait": True, **changes})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def upload_file(client: httpx.Client, job_id: str) -> None:
    code = b"def predict(input): return {}"
    assert client.put(f"/v1/jobs/{job_id}/files/model.py", content=code).status_code == 200


def accept(client: httpx.Client, offer_id: str, job_id: str, bid: str = "0.001") -> httpx.Response:
    return client.post(f"/v1/marketplace/offers/{offer_id}/accept", json={"job_id": job_id, "bid_price": bid})


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/marketplace/offers", params=query)
    assert answer.status_code == 200, answer.text
    offers: list[dict[str, Any]] = answer.json()["offers"]
    return offers


def created(client: httpx.Client, **query: Any) -> list[str]:
    """Return the ids of the listed offers that are not standing offers."""
    return [offer["offer_id"] for offer in listed(client, **query) if not offer["standing"]]


def own_offers(miner: OwnedMiner) -> dict[str, str]:
    """Return the states of a miner's offers that are not standing offers."""
    return {
        offer["offer_id"]: offer["status"]
        for offer in listed(miner.owner, mine=True)
        if not offer["standing"]
    }


def assert_refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    details: dict[str, Any] = answer.json()["error"]["details"]
    return details


def unavailable_reason(answer: httpx.Response) -> str:
    reason: str = assert_refused(answer, 410, "OFFER_NOT_AVAILABLE")["reason"]
    return reason


def jobs_left(miner: OwnedMiner, offer_id: str) -> int:
    (found,) = (offer for offer in listed(miner.owner, mine=True) if offer["offer_id"] == offer_id)
    count: int = found["jobs_left"]
    return count


# Creating offers ------------------------------------------------------------------------------------------------------


def test_an_offer_is_created_listed_and_withdrawn(client: httpx.Client, miner: OwnedMiner) -> None:
    offer = miner.offer(**OFFER)
    assert (offer["miner_id"], offer["status"]) == (miner.miner_id, "active")
    assert offer["offer_id"].startswith("offer_")
    (found,) = listed(client, job_type="image_classification")
    assert found == {**offer, "reputation": 3.0}
    assert found["requirements"] == {"min_gpu_memory": "4Gi", "min_cpu": "2000m"}
    path = f"/v1/marketplace/offers/{offer['offer_id']}"
    ended = miner.owner.delete(path)
    assert ended.json() == {"offer_id": offer["offer_id"], "status": "withdrawn"}
    assert miner.owner.delete(path).json() == ended.json()
    assert listed(client, job_type="image_classification") == []
    assert own_offers(miner) == {offer["offer_id"]: "withdrawn"}


def test_only_the_owner_of_a_miner_creates_and_withdraws_its_offers(
    client: httpx.Client, served: Served, miner: OwnedMiner
) -> None:
    assert_refused(client.post("/v1/marketplace/offers", json=OFFER), 403, "FORBIDDEN")
    assert_refused(client.get("/v1/marketplace/offers", params={"mine": True}), 403, "FORBIDDEN")
    offer_id = miner.offer()["offer_id"]
    assert_refused(client.delete(f"/v1/marketplace/offers/{offer_id}"), 403, "FORBIDDEN")
    other = OwnedMiner(served.url)
    other.join()
    assert_refused(other.owner.delete(f"/v1/marketplace/offers/{offer_id}"), 404, "NOT_FOUND")
    assert_refused(accept(miner.owner, offer_id, "job_1"), 403, "FORBIDDEN")
    for path in ("offers", "stats"):
        assert httpx.get(f"{served.url}/v1/marketplace/{path}").status_code == 401


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"requirements": {"min_gpu_memory": "25Gi"}}, "requirements.min_gpu_memory"),
        ({"requirements": {"min_cpu": "64001m"}}, "requirements.min_cpu"),
        ({"requirements": {"min_cpu": "lots"}}, "requirements.min_cpu"),
        ({"job_type": "video-transcoding"}, "job_type"),
        ({"job_type": ""}, "job_type"),
        ({"max_jobs": 0}, "max_jobs"),
        ({"duration": 0}, "duration"),
        ({"duration": 31 * 86_400}, "duration"),
        ({"price": 0.001}, "price"),
        ({"price": "-1"}, "price"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_offer_that_is_invalid_or_beyond_its_miner_is_refused(
    served: Served, change: dict[str, Any], name: str
) -> None:
    """The error names the field."""
    offered = capabilities()
    del offered["services"]["video_transcoding"]
    miner = OwnedMiner(served.url)
    miner.join(capabilities=offered)
    details = miner.offer(422, **change)["error"]["details"]
    assert name in details["fields"], details
    assert own_offers(miner) == {}


def test_the_number_of_open_offers_of_a_miner_is_limited(tmp_path: Any) -> None:
    with serve(tmp_path / "data", open_enrolment=True, max_offers_per_miner=1) as served:
        miner = OwnedMiner(served.url)
        miner.join()
        offer_id = miner.offer()["offer_id"]
        assert miner.offer(429)["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
        miner.offer()


# Standing offers ------------------------------------------------------------------------------------------------------


def test_configured_prices_are_standing_offers(
    client: httpx.Client, served: Served, miner: OwnedMiner
) -> None:
    """The cheapest is listed first; they follow the miner's prices, and end with a removed service or a pause."""
    cheap = OwnedMiner(served.url)
    cheap.join(capabilities=priced("0.0002"))
    offers = listed(client, job_type="llm-inference")
    assert [(offer["miner_id"], offer["price"]) for offer in offers] == [
        (cheap.miner_id, "0.0002"),
        (miner.miner_id, "0.001"),
    ]
    assert all(offer["standing"] and "max_jobs" not in offer for offer in offers)
    assert len(listed(client)) == 2 * len(capabilities()["services"])
    assert [offer["price"] for offer in listed(client, max_price="0.0009", limit=3)] == ["0.0002"] * 3
    cheap.beat(capabilities=priced("0.002"))
    assert [offer["price"] for offer in listed(client, job_type="llm_inference")] == ["0.001", "0.002"]
    (before,) = listed(client, job_type="llm-inference", max_price="0.001")
    miner.beat(paused="by its owner")
    assert [offer["price"] for offer in listed(client, job_type="llm_inference")] == ["0.002"]
    offered = capabilities()
    del offered["services"]["llm_inference"]
    miner.beat(capabilities=offered)
    assert [offer["price"] for offer in listed(client, job_type="llm_inference")] == ["0.002"]
    miner.beat(capabilities=capabilities())
    assert listed(client, job_type="llm_inference")[0] == before
    answer = miner.owner.delete(f"/v1/marketplace/offers/{before['offer_id']}")
    assert_refused(answer, 409, "CONFLICT")


def test_offers_of_a_miner_without_heartbeats_are_not_listed(tmp_path: Any) -> None:
    with serve(tmp_path / "data", open_enrolment=True, heartbeat_seconds=0.3) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = OwnedMiner(served.url)
        miner.join()
        job_id = waiting_job(client, name="transcribe")
        offer_id = miner.offer(job_type="transcribe")["offer_id"]
        while listed(client):
            pass
        assert unavailable_reason(accept(client, offer_id, job_id)) == "offline"
        miner.beat()
        assert accept(client, offer_id, job_id).status_code == 200


# Accepting ------------------------------------------------------------------------------------------------------------


def test_a_job_that_accepts_an_offer_runs_on_its_miner_at_its_price(
    client: httpx.Client, served: Served, miner: OwnedMiner
) -> None:
    """A cheaper miner that waits does not get it; the payment of the response settles with the result."""
    cheap = OwnedMiner(served.url)
    cheap.join(capabilities=priced("0.0001"))
    offer_id = miner.offer(**{**OFFER, "price": "0.002"})["offer_id"]
    job_id = waiting_job(client)
    bound = accept(client, offer_id, job_id, bid="0.05")
    assert bound.status_code == 200, bound.text
    transaction = bound.json()
    assert transaction["transaction_id"].startswith("tx_")
    assert (transaction["status"], transaction["price"]) == ("pending", "0.002")
    assert accept(client, offer_id, job_id, bid="0.05").json() == transaction
    assert jobs_left(miner, offer_id) == 9
    upload_file(client, job_id)
    assert cheap.poll(wait=0.3) == []
    (lease,) = miner.poll()
    assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.002")
    assert miner.complete(lease, RESULTS).status_code == 200
    (payment,) = client.get("/v1/wallet/transactions", params={"limit": 1}).json()["transactions"]
    assert (payment["transaction_id"], payment["status"]) == (transaction["transaction_id"], "settled")
    assert (payment["amount"], payment["miner_id"]) == ("0.004", miner.miner_id)
    assert miner.owner.get("/v1/wallet").json()["balance"] == "0.004"
    assert jobs_left(miner, offer_id) == 9


def test_a_standing_offer_can_be_accepted(client: httpx.Client, miner: OwnedMiner) -> None:
    (offer,) = listed(client, job_type="ai-inference")
    job_id = waiting_job(client)
    assert accept(client, offer["offer_id"], job_id).json()["price"] == "0.001"
    upload_file(client, job_id)
    (lease,) = miner.poll()
    assert lease["job_id"] == job_id


def test_a_job_can_be_submitted_to_an_offer(client: httpx.Client, served: Served, miner: OwnedMiner) -> None:
    """No other miner gets it, though one waits; a job that the offer cannot accept is not created."""
    cheap = OwnedMiner(served.url)
    cheap.join(capabilities=priced("0.0001"))
    offer_id = miner.offer(max_jobs=1)["offer_id"]
    job_id = submit(client, offer_id=offer_id)
    assert cheap.poll(wait=0.3) == []
    (lease,) = miner.poll()
    assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.0005")
    assert job(client, job_id)["offer_id"] == offer_id
    balance, total = client.get("/v1/wallet").json(), client.get("/v1/jobs").json()["total"]
    body = {"audio_url": "https://example.com/a.mp3", "model": "base", "offer_id": offer_id}
    assert unavailable_reason(client.post("/v1/services/whisper/transcribe", json=body)) == "exhausted"
    both = client.post("/v1/services/whisper/transcribe", json={**body, "miner_id": miner.miner_id})
    assert_refused(both, 422, "VALIDATION_ERROR")
    unknown = client.post("/v1/services/whisper/transcribe", json={**body, "offer_id": "offer_unknown"})
    assert_refused(unknown, 404, "NOT_FOUND")
    assert (client.get("/v1/wallet").json(), client.get("/v1/jobs").json()["total"]) == (balance, total)


def test_a_bid_below_the_price_is_refused(client: httpx.Client, miner: OwnedMiner) -> None:
    offer_id = miner.offer(**OFFER)["offer_id"]
    answer = accept(client, offer_id, waiting_job(client), bid="0.0009")
    assert "0.001" in assert_refused(answer, 422, "VALIDATION_ERROR")["fields"]["bid_price"]
    assert jobs_left(miner, offer_id) == 10


def test_fifty_simultaneous_acceptances_fill_an_offer_of_ten_jobs(
    client: httpx.Client, miner: OwnedMiner
) -> None:
    """Exactly ten succeed, and the others are refused because the offer is exhausted."""
    offer_id = miner.offer(**OFFER)["offer_id"]
    jobs = [waiting_job(client) for _ in range(50)]
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda job_id: accept(client, offer_id, job_id), jobs))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 410: 40}
    assert {unavailable_reason(answer) for answer in answers if answer.status_code == 410} == {"exhausted"}
    assert jobs_left(miner, offer_id) == 0
    assert offer_id not in created(client)
    assert own_offers(miner) == {offer_id: "exhausted"}


def test_a_job_that_does_not_complete_is_counted_back_to_its_offer(
    client: httpx.Client, miner: OwnedMiner
) -> None:
    """A job that is cancelled while waiting or running, or that fails, is counted back once."""
    offer_id = miner.offer(**{**OFFER, "max_jobs": 1})["offer_id"]

    def bound() -> str:
        job_id = waiting_job(client)
        assert accept(client, offer_id, job_id).status_code == 200
        assert jobs_left(miner, offer_id) == 0
        return job_id

    def running() -> dict[str, Any]:
        upload_file(client, bound())
        return miner.claim()

    waiting = bound()
    for _ in range(2):
        assert client.delete(f"/v1/jobs/{waiting}").status_code == 200
    assert jobs_left(miner, offer_id) == 1
    assert created(client) == [offer_id]
    client.delete(f"/v1/jobs/{running()['job_id']}")
    assert jobs_left(miner, offer_id) == 1
    failed = miner.job(running(), "fail", kind="fail", code="BAD_INPUT", message="This is no model.")
    assert failed.status_code == 200
    assert jobs_left(miner, offer_id) == 1
    assert miner.complete(running(), RESULTS).status_code == 200
    assert jobs_left(miner, offer_id) == 0


def test_an_unavailable_offer_is_refused_with_the_reason(client: httpx.Client, miner: OwnedMiner) -> None:
    job_id = waiting_job(client)
    withdrawn = miner.offer(**OFFER)["offer_id"]
    miner.owner.delete(f"/v1/marketplace/offers/{withdrawn}")
    assert unavailable_reason(accept(client, withdrawn, job_id)) == "withdrawn"
    short = miner.offer(**{**OFFER, "duration": 1})["offer_id"]
    while short in created(client):
        pass
    assert unavailable_reason(accept(client, short, job_id)) == "expired"
    assert own_offers(miner)[short] == "expired"
    assert miner.owner.delete(f"/v1/marketplace/offers/{short}").json()["status"] == "expired"
    good = miner.offer(**OFFER)["offer_id"]
    miner.beat(paused="by its owner")
    assert unavailable_reason(accept(client, good, job_id)) == "paused"
    miner.beat()
    assert_refused(accept(client, "offer_unknown", job_id), 404, "NOT_FOUND")
    assert accept(client, good, job_id).status_code == 200


@pytest.mark.parametrize(
    ("job_change", "offer_change", "words"),
    [
        ({"name": "something-else"}, {}, "image-classification"),
        ({"resources": {"cpu": "3"}}, {}, "CPU"),
        ({"resources": {"gpu": "2"}}, {}, "hardware"),
        ({"pricing": {"max_cost": "0.0009"}}, {}, "max_cost"),
        ({}, {"job_type": "llm_inference"}, "llm_inference"),
    ],
)
def test_an_offer_refuses_a_job_that_does_not_fit(
    client: httpx.Client,
    miner: OwnedMiner,
    job_change: dict[str, Any],
    offer_change: dict[str, Any],
    words: str,
) -> None:
    offer_id = miner.offer(**{**OFFER, **offer_change})["offer_id"]
    answer = accept(client, offer_id, waiting_job(client, **job_change))
    assert unavailable_reason(answer) == "not_fitting"
    assert words in answer.json()["error"]["message"]
    assert jobs_left(miner, offer_id) == 10


def test_a_job_accepts_one_offer_and_only_while_it_waits(
    client: httpx.Client, served: Served, miner: OwnedMiner
) -> None:
    first, second = (miner.offer(**OFFER)["offer_id"] for _ in range(2))
    job_id = waiting_job(client)
    assert accept(client, first, job_id).status_code == 200
    assert_refused(accept(client, second, job_id), 409, "CONFLICT")
    upload_file(client, job_id)
    (lease,) = miner.poll()
    assert accept(client, first, job_id).json()["status"] == "pending"
    assert miner.complete(lease, RESULTS).status_code == 200
    assert accept(client, first, job_id).json()["status"] == "settled"
    assert_refused(accept(client, second, job_id), 409, "JOB_ALREADY_COMPLETED")
    running = waiting_job(client)
    upload_file(client, running)
    miner.poll()
    assert_refused(accept(client, first, running), 409, "CONFLICT")
    directed = waiting_job(client, miner_id=miner.miner_id)
    assert_refused(accept(client, first, directed), 409, "CONFLICT")
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert_refused(accept(other, second, waiting_job(client)), 404, "JOB_NOT_FOUND")
    assert_refused(accept(client, second, "job_unknown"), 404, "JOB_NOT_FOUND")
    assert (jobs_left(miner, first), jobs_left(miner, second)) == (9, 10)


# When the offer's miner does not claim the job ------------------------------------------------------------------------


def test_jobs_of_a_withdrawn_offer_still_run(client: httpx.Client, miner: OwnedMiner) -> None:
    offer_id = miner.offer(**OFFER)["offer_id"]
    job_id = waiting_job(client)
    accept(client, offer_id, job_id)
    miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
    upload_file(client, job_id)
    (lease,) = miner.poll()
    assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.001")


def test_a_job_goes_to_the_open_market_when_the_offers_miner_does_not_claim_it(tmp_path: Any) -> None:
    with serve(tmp_path / "data", open_enrolment=True, offer_wait_seconds=0.3) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner, other = OwnedMiner(served.url), OwnedMiner(served.url)
        miner.join()
        other.join(capabilities=priced("0.02"))
        offer_id = miner.offer(**OFFER)["offer_id"]
        job_id = waiting_job(client)
        assert accept(client, offer_id, job_id).status_code == 200
        upload_file(client, job_id)
        lease = next(iter(other.poll(wait=20)))
        assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.02")
        assert jobs_left(miner, offer_id) == 10


@pytest.mark.parametrize("ended", [True, False])
def test_a_paused_miner_retains_its_jobs_while_its_offer_is_active(
    client: httpx.Client, served: Served, miner: OwnedMiner, ended: bool
) -> None:
    other = OwnedMiner(served.url)
    other.join(capabilities=priced("0.02"))
    offer_id = miner.offer(**OFFER)["offer_id"]
    job_id = waiting_job(client)
    accept(client, offer_id, job_id)
    upload_file(client, job_id)
    miner.beat(paused="by its owner")
    if ended:
        miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
    served.do(acceptance.tidy)
    assert [lease["job_id"] for lease in other.poll(wait=0.3)] == ([job_id] if ended else [])


@pytest.mark.parametrize("change", ["paused", "without the service"])
def test_a_standing_offer_ends_with_a_pause_or_a_removed_service(
    client: httpx.Client, served: Served, miner: OwnedMiner, change: str
) -> None:
    (offer,) = listed(client, job_type="ai-inference")
    job_id = waiting_job(client)
    assert accept(client, offer["offer_id"], job_id).status_code == 200
    upload_file(client, job_id)
    offered = capabilities()
    del offered["services"]["ai_inference"]
    miner.beat(**({"paused": "by its owner"} if change == "paused" else {"capabilities": offered}))
    served.do(acceptance.tidy)
    other = OwnedMiner(served.url)
    other.join(capabilities=priced("0.02"))
    assert [lease["job_id"] for lease in other.poll()] == [job_id]


# Removed miners, and names -------------------------------------------------------------------------------------------


def test_the_offers_of_a_removed_miner_end_and_its_jobs_are_released(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: OwnedMiner
) -> None:
    of_miner = listed(client)
    job_id = submit(client)
    offer_id = listed(client, job_type="whisper-transcription")[0]["offer_id"]
    assert accept(client, offer_id, job_id, bid="1").status_code == 200
    assert job(client, job_id)["offer_id"] == offer_id
    removal = admin.delete(f"/v1/admin/miners/{miner.miner_id}").raise_for_status().json()
    assert removal["ended_offers"] == len(of_miner) > 0
    assert listed(client) == []
    served.do(acceptance.tidy)
    assert "offer_id" not in job(client, job_id)
    other = OwnedMiner(served.url)
    other.join()
    assert other.claim()["job_id"] == job_id


def test_a_derived_name_matches_no_offer(client: httpx.Client, miner: OwnedMiner) -> None:
    """An offer for jobs of a name gets those whose clients gave the name, not those with such a prompt."""
    offer_id = miner.offer(job_type="cats", price="0.0001", max_jobs=5)["offer_id"]

    def status(**options: Any) -> int:
        job_id = submit(client, audio_url="https://example.com/cats", **options)
        assert job(client, job_id)["name"] == "cats"
        return accept(client, offer_id, job_id, bid="1").status_code

    assert status(name="cats") == 200
    assert status() == 410
    jobs = client.get("/v1/jobs", params={"offer_id": offer_id}).json()["jobs"]
    assert [job["name"] for job in jobs] == ["cats"]


# Events ---------------------------------------------------------------------------------------------------------------


def market_events(served: Served, **caller: str | None) -> list[dict[str, Any]]:
    """Return the market events that a caller may see, oldest first."""
    events = served.do(lambda context: context.database.read(event_store.after, 0, **caller))
    return [dict(event.data) for event in events if event.type == "marketplace_update"]


def account_of(served: Served, key: str) -> str:
    answer = httpx.get(f"{served.url}/v1/wallet", headers={"X-API-Key": key})
    account_id: str = answer.json()["account_id"]
    return account_id


def test_offers_are_published_to_all_and_transactions_to_their_two_parties(
    client: httpx.Client, served: Served, miner: OwnedMiner
) -> None:
    offer_id = miner.offer(**{**OFFER, "max_jobs": 1})["offer_id"]
    job_id = waiting_job(client)
    transaction = accept(client, offer_id, job_id).json()["transaction_id"]
    client.delete(f"/v1/jobs/{job_id}")
    miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
    mine, others = (account_of(served, key) for key in (served.client_key, served.other_key))
    for caller, is_party in (
        ({"account_id": mine}, True),
        ({"miner_id": miner.miner_id}, True),
        ({"account_id": others}, False),
    ):
        published = market_events(served, **caller)
        states = [
            item["status"]
            for item in published
            if item.get("offer_id") == offer_id and item["kind"] == "offer"
        ]
        assert states == ["active", "exhausted", "active", "withdrawn"]
        bound = [item for item in published if item.get("transaction_id") == transaction and "bound" in item]
        assert [(item["status"], item["offer_id"]) for item in bound] == [("pending", offer_id)] * is_party
