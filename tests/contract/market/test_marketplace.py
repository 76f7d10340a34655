"""Offers over HTTP: made by miners, accepted by clients, and what becomes of jobs that accepted one."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agent.coordinator.operations.market import marketplace
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
class Owned(ScriptedMiner):
    """A miner whose owner's key we have."""

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

    def take(self) -> dict[str, Any]:
        """The next lease; a poll that only brings a cancellation is repeated."""
        while not (leases := self.poll()):
            pass
        return leases[0]

    def beat(self, **said: Any) -> None:
        assert self.http.post("/heartbeat", json={"leases": [], "gpus": [], **said}).is_success


@pytest.fixture
def miner(served: Served) -> Owned:
    miner = Owned(served.url)
    miner.join()
    return miner


def priced(price: str) -> dict[str, Any]:
    """Capabilities of a miner that asks this for everything."""
    offered = capabilities()
    for service in offered["services"].values():
        service["unit_price"] = price
    return offered


def waiting_job(client: httpx.Client, **changes: Any) -> str:
    """A job that no miner gets yet, since it waits for its model's file."""
    answer = client.post("/v1/jobs", json={**REFERENCE_JOB, **changes})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


def bring_file(client: httpx.Client, job_id: str) -> None:
    code = b"def predict(input): return {}"
    assert client.put(f"/v1/jobs/{job_id}/files/model.py", content=code).status_code == 200


def accept(client: httpx.Client, offer_id: str, job_id: str, bid: str = "0.001") -> httpx.Response:
    return client.post(f"/v1/marketplace/offers/{offer_id}/accept", json={"job_id": job_id, "bid_price": bid})


def listed(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/marketplace/offers", params=query)
    assert answer.status_code == 200, answer.text
    offers: list[dict[str, Any]] = answer.json()["offers"]
    return offers


def made(client: httpx.Client, **query: Any) -> list[str]:
    """The ids of listed offers that miners have made themselves."""
    return [offer["offer_id"] for offer in listed(client, **query) if not offer["standing"]]


def own(miner: Owned) -> dict[str, str]:
    """The states of a miner's own offers that it has made."""
    return {
        offer["offer_id"]: offer["status"]
        for offer in listed(miner.owner, mine=True)
        if not offer["standing"]
    }


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    details: dict[str, Any] = answer.json()["error"]["details"]
    return details


def gone(answer: httpx.Response) -> str:
    reason: str = refused(answer, 410, "OFFER_NOT_AVAILABLE")["reason"]
    return reason


def left(miner: Owned, offer_id: str) -> int:
    (found,) = (offer for offer in listed(miner.owner, mine=True) if offer["offer_id"] == offer_id)
    count: int = found["jobs_left"]
    return count


# Making offers --------------------------------------------------------------------------------------------------------


def test_an_offer_is_made_listed_and_withdrawn(client: httpx.Client, miner: Owned) -> None:
    offer = miner.offer(**OFFER)
    assert (offer["miner_id"], offer["status"]) == (miner.miner_id, "active")
    assert offer["offer_id"].startswith("offer_")
    (found,) = listed(client, job_type="image_classification")
    assert found == {**offer, "reputation": 3.0}
    assert found["requirements"] == {"min_gpu_memory": str(4 * 2**30), "min_cpu": "2000m"}
    path = f"/v1/marketplace/offers/{offer['offer_id']}"
    ended = miner.owner.delete(path)
    assert ended.json() == {"offer_id": offer["offer_id"], "status": "withdrawn"}
    assert miner.owner.delete(path).json() == ended.json()
    assert listed(client, job_type="image_classification") == []
    assert own(miner) == {offer["offer_id"]: "withdrawn"}


def test_only_the_owner_of_a_miner_makes_and_withdraws_its_offers(
    client: httpx.Client, served: Served, miner: Owned
) -> None:
    refused(client.post("/v1/marketplace/offers", json=OFFER), 403, "FORBIDDEN")
    refused(client.get("/v1/marketplace/offers", params={"mine": True}), 403, "FORBIDDEN")
    offer_id = miner.offer()["offer_id"]
    refused(client.delete(f"/v1/marketplace/offers/{offer_id}"), 403, "FORBIDDEN")
    other = Owned(served.url)
    other.join()
    refused(other.owner.delete(f"/v1/marketplace/offers/{offer_id}"), 404, "NOT_FOUND")
    refused(accept(miner.owner, offer_id, "job_1"), 403, "FORBIDDEN")
    for path in ("offers", "stats"):
        assert httpx.get(f"{served.url}/v1/marketplace/{path}").status_code == 401


@pytest.mark.parametrize(
    ("change", "place"),
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
def test_an_offer_that_its_miner_could_not_keep_is_refused(
    served: Served, change: dict[str, Any], place: str
) -> None:
    """As is one that says nothing sensible; each names the field."""
    offered = capabilities()
    del offered["services"]["video_transcoding"]
    miner = Owned(served.url)
    miner.join(capabilities=offered)
    details = miner.offer(422, **change)["error"]["details"]
    assert place in details["fields"], details
    assert own(miner) == {}


def test_a_miner_has_not_more_open_offers_than_the_limit(tmp_path: Any) -> None:
    with serve(tmp_path / "data", open_enrolment=True, max_offers_per_miner=1) as served:
        miner = Owned(served.url)
        miner.join()
        offer_id = miner.offer()["offer_id"]
        assert miner.offer(429)["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
        miner.offer()


# Standing offers ------------------------------------------------------------------------------------------------------


def test_configured_prices_are_standing_offers_of_their_own_accord(
    client: httpx.Client, served: Served, miner: Owned
) -> None:
    """The cheapest first; they follow the miner's prices, and are gone with its services, its pauses and the miner itself."""
    cheap = Owned(served.url)
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
    refused(answer, 409, "CONFLICT")


def test_a_miner_that_is_not_heard_of_is_not_listed(tmp_path: Any) -> None:
    with serve(tmp_path / "data", open_enrolment=True, heartbeat_seconds=0.05) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = Owned(served.url)
        miner.join()
        job_id = waiting_job(client, name="transcribe")
        offer_id = miner.offer(job_type="transcribe")["offer_id"]
        while listed(client):
            pass
        assert gone(accept(client, offer_id, job_id)) == "offline"
        miner.beat()
        assert accept(client, offer_id, job_id).status_code == 200


# Accepting ------------------------------------------------------------------------------------------------------------


def test_a_job_that_accepts_an_offer_runs_on_its_miner_at_its_price(
    client: httpx.Client, served: Served, miner: Owned
) -> None:
    """Though another miner is cheaper and waits; the payment that was answered settles with the result."""
    cheap = Owned(served.url)
    cheap.join(capabilities=priced("0.0001"))
    offer_id = miner.offer(**{**OFFER, "price": "0.002"})["offer_id"]
    job_id = waiting_job(client)
    bound = accept(client, offer_id, job_id, bid="0.05")
    assert bound.status_code == 200, bound.text
    transaction = bound.json()
    assert transaction["transaction_id"].startswith("tx_")
    assert (transaction["status"], transaction["price"]) == ("pending", "0.002")
    assert accept(client, offer_id, job_id, bid="0.05").json() == transaction
    assert left(miner, offer_id) == 9
    bring_file(client, job_id)
    assert cheap.poll(wait=0.3) == []
    (lease,) = miner.poll()
    assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.002")
    assert miner.complete(lease, RESULTS).status_code == 200
    (payment,) = client.get("/v1/wallet/transactions", params={"limit": 1}).json()["transactions"]
    assert (payment["transaction_id"], payment["status"]) == (transaction["transaction_id"], "settled")
    assert (payment["amount"], payment["miner_id"]) == ("0.004", miner.miner_id)
    assert miner.owner.get("/v1/wallet").json()["balance"] == "0.004"
    assert left(miner, offer_id) == 9


def test_a_standing_offer_is_accepted_like_any_other(client: httpx.Client, miner: Owned) -> None:
    (offer,) = listed(client, job_type="ai-inference")
    job_id = waiting_job(client)
    assert accept(client, offer["offer_id"], job_id).json()["price"] == "0.001"
    bring_file(client, job_id)
    (lease,) = miner.poll()
    assert lease["job_id"] == job_id


def test_a_job_is_submitted_to_an_offer_at_once(client: httpx.Client, served: Served, miner: Owned) -> None:
    """No other miner can take it before, though one waits; what the offer cannot do is not created at all."""
    cheap = Owned(served.url)
    cheap.join(capabilities=priced("0.0001"))
    offer_id = miner.offer(max_jobs=1)["offer_id"]
    job_id = submit(client, offer_id=offer_id)
    assert cheap.poll(wait=0.3) == []
    (lease,) = miner.poll()
    assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.0005")
    assert job(client, job_id)["offer_id"] == offer_id
    balance, total = client.get("/v1/wallet").json(), client.get("/v1/jobs").json()["total"]
    body = {"audio_url": "https://example.com/a.mp3", "model": "base", "offer_id": offer_id}
    assert gone(client.post("/v1/services/whisper/transcribe", json=body)) == "exhausted"
    both = client.post("/v1/services/whisper/transcribe", json={**body, "miner_id": miner.miner_id})
    refused(both, 422, "VALIDATION_ERROR")
    unknown = client.post("/v1/services/whisper/transcribe", json={**body, "offer_id": "offer_unknown"})
    refused(unknown, 404, "NOT_FOUND")
    assert (client.get("/v1/wallet").json(), client.get("/v1/jobs").json()["total"]) == (balance, total)


def test_a_bid_below_the_price_is_refused(client: httpx.Client, miner: Owned) -> None:
    offer_id = miner.offer(**OFFER)["offer_id"]
    answer = accept(client, offer_id, waiting_job(client), bid="0.0009")
    assert "0.001" in refused(answer, 422, "VALIDATION_ERROR")["fields"]["bid_price"]
    assert left(miner, offer_id) == 10


def test_fifty_clients_at_once_get_ten_places(client: httpx.Client, miner: Owned) -> None:
    """Of an offer with capacity for ten, exactly ten are given; the others hear that it is exhausted."""
    offer_id = miner.offer(**OFFER)["offer_id"]
    jobs = [waiting_job(client) for _ in range(50)]
    with ThreadPoolExecutor(25) as threads:
        answers = list(threads.map(lambda job_id: accept(client, offer_id, job_id), jobs))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 410: 40}
    assert {gone(answer) for answer in answers if answer.status_code == 410} == {"exhausted"}
    assert left(miner, offer_id) == 0
    assert offer_id not in made(client)
    assert own(miner) == {offer_id: "exhausted"}


def test_a_place_comes_back_unless_the_job_completes(client: httpx.Client, miner: Owned) -> None:
    """Cancelled while it waits, cancelled while it runs, failed: each gives its place back once."""
    offer_id = miner.offer(**{**OFFER, "max_jobs": 1})["offer_id"]

    def bound() -> str:
        job_id = waiting_job(client)
        assert accept(client, offer_id, job_id).status_code == 200
        assert left(miner, offer_id) == 0
        return job_id

    def running() -> dict[str, Any]:
        bring_file(client, bound())
        return miner.take()

    waiting = bound()
    for _ in range(2):
        assert client.delete(f"/v1/jobs/{waiting}").status_code == 200
    assert left(miner, offer_id) == 1
    assert made(client) == [offer_id]
    client.delete(f"/v1/jobs/{running()['job_id']}")
    assert left(miner, offer_id) == 1
    failed = miner.job(running(), "fail", kind="fail", code="BAD_INPUT", message="This is no model.")
    assert failed.status_code == 200
    assert left(miner, offer_id) == 1
    assert miner.complete(running(), RESULTS).status_code == 200
    assert left(miner, offer_id) == 0


def test_an_offer_that_cannot_be_had_says_why(client: httpx.Client, miner: Owned) -> None:
    job_id = waiting_job(client)
    withdrawn = miner.offer(**OFFER)["offer_id"]
    miner.owner.delete(f"/v1/marketplace/offers/{withdrawn}")
    assert gone(accept(client, withdrawn, job_id)) == "withdrawn"
    short = miner.offer(**{**OFFER, "duration": 1})["offer_id"]
    while short in made(client):
        pass
    assert gone(accept(client, short, job_id)) == "expired"
    assert own(miner)[short] == "expired"
    assert miner.owner.delete(f"/v1/marketplace/offers/{short}").json()["status"] == "expired"
    good = miner.offer(**OFFER)["offer_id"]
    miner.beat(paused="by its owner")
    assert gone(accept(client, good, job_id)) == "paused"
    miner.beat()
    refused(accept(client, "offer_unknown", job_id), 404, "NOT_FOUND")
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
def test_an_offer_is_not_for_a_job_that_does_not_fit(
    client: httpx.Client,
    miner: Owned,
    job_change: dict[str, Any],
    offer_change: dict[str, Any],
    words: str,
) -> None:
    offer_id = miner.offer(**{**OFFER, **offer_change})["offer_id"]
    answer = accept(client, offer_id, waiting_job(client, **job_change))
    assert gone(answer) == "not_fitting"
    assert words in answer.json()["error"]["message"]
    assert left(miner, offer_id) == 10


def test_a_job_is_bound_once_and_only_while_it_waits(
    client: httpx.Client, served: Served, miner: Owned
) -> None:
    first, second = (miner.offer(**OFFER)["offer_id"] for _ in range(2))
    job_id = waiting_job(client)
    assert accept(client, first, job_id).status_code == 200
    refused(accept(client, second, job_id), 409, "CONFLICT")
    bring_file(client, job_id)
    (lease,) = miner.poll()
    assert accept(client, first, job_id).json()["status"] == "pending"
    assert miner.complete(lease, RESULTS).status_code == 200
    assert accept(client, first, job_id).json()["status"] == "settled"
    refused(accept(client, second, job_id), 409, "JOB_ALREADY_COMPLETED")
    running = waiting_job(client)
    bring_file(client, running)
    miner.poll()
    refused(accept(client, first, running), 409, "CONFLICT")
    asked = waiting_job(client, miner_id=miner.miner_id)
    refused(accept(client, first, asked), 409, "CONFLICT")
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    refused(accept(other, second, waiting_job(client)), 404, "JOB_NOT_FOUND")
    refused(accept(client, second, "job_unknown"), 404, "JOB_NOT_FOUND")
    assert (left(miner, first), left(miner, second)) == (9, 10)


# When the offer's miner does not come ---------------------------------------------------------------------------------


def test_a_withdrawn_offers_jobs_still_run(client: httpx.Client, miner: Owned) -> None:
    offer_id = miner.offer(**OFFER)["offer_id"]
    job_id = waiting_job(client)
    accept(client, offer_id, job_id)
    miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
    bring_file(client, job_id)
    (lease,) = miner.poll()
    assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.001")


def test_a_job_goes_to_the_open_market_when_the_offers_miner_stays_away(tmp_path: Any) -> None:
    with serve(tmp_path / "data", open_enrolment=True, offer_wait_seconds=0.3) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner, other = Owned(served.url), Owned(served.url)
        miner.join()
        other.join(capabilities=priced("0.02"))
        offer_id = miner.offer(**OFFER)["offer_id"]
        job_id = waiting_job(client)
        assert accept(client, offer_id, job_id).status_code == 200
        bring_file(client, job_id)
        lease = next(iter(other.poll(wait=20)))
        assert (lease["job_id"], lease["unit_price"]) == (job_id, "0.02")
        assert left(miner, offer_id) == 10


@pytest.mark.parametrize("ended", [True, False])
def test_a_paused_miner_keeps_its_jobs_as_long_as_its_offer_stands(
    client: httpx.Client, served: Served, miner: Owned, ended: bool
) -> None:
    other = Owned(served.url)
    other.join(capabilities=priced("0.02"))
    offer_id = miner.offer(**OFFER)["offer_id"]
    job_id = waiting_job(client)
    accept(client, offer_id, job_id)
    bring_file(client, job_id)
    miner.beat(paused="by its owner")
    if ended:
        miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
    served.do(marketplace.tidy)
    assert [lease["job_id"] for lease in other.poll(wait=0.3)] == ([job_id] if ended else [])


@pytest.mark.parametrize("how", ["paused", "without the service"])
def test_a_standing_offer_ends_with_the_miners_will(
    client: httpx.Client, served: Served, miner: Owned, how: str
) -> None:
    (offer,) = listed(client, job_type="ai-inference")
    job_id = waiting_job(client)
    assert accept(client, offer["offer_id"], job_id).status_code == 200
    bring_file(client, job_id)
    offered = capabilities()
    del offered["services"]["ai_inference"]
    miner.beat(**({"paused": "by its owner"} if how == "paused" else {"capabilities": offered}))
    served.do(marketplace.tidy)
    other = Owned(served.url)
    other.join(capabilities=priced("0.02"))
    assert [lease["job_id"] for lease in other.poll()] == [job_id]


# News -----------------------------------------------------------------------------------------------------------------


def news(served: Served, **who: str | None) -> list[dict[str, Any]]:
    """What a caller may see of the market, oldest first."""
    changes = served.do(lambda context: context.database.read(event_store.after, 0, **who))
    return [dict(change.data) for change in changes if change.type == "marketplace_update"]


def account_of(served: Served, key: str) -> str:
    answer = httpx.get(f"{served.url}/v1/wallet", headers={"X-API-Key": key})
    account_id: str = answer.json()["account_id"]
    return account_id


def test_offers_are_news_for_all_and_transactions_for_the_two_they_concern(
    client: httpx.Client, served: Served, miner: Owned
) -> None:
    offer_id = miner.offer(**{**OFFER, "max_jobs": 1})["offer_id"]
    job_id = waiting_job(client)
    transaction = accept(client, offer_id, job_id).json()["transaction_id"]
    client.delete(f"/v1/jobs/{job_id}")
    miner.owner.delete(f"/v1/marketplace/offers/{offer_id}")
    mine, others = (account_of(served, key) for key in (served.client_key, served.other_key))
    for who, concerned in (
        ({"account_id": mine}, True),
        ({"miner_id": miner.miner_id}, True),
        ({"account_id": others}, False),
    ):
        told = news(served, **who)
        states = [
            item["status"] for item in told if item.get("offer_id") == offer_id and item["kind"] == "offer"
        ]
        assert states == ["active", "exhausted", "active", "withdrawn"]
        bound = [item for item in told if item.get("transaction_id") == transaction and "bound" in item]
        assert [(item["status"], item["offer_id"]) for item in bound] == [("pending", offer_id)] * concerned


# Statistics -----------------------------------------------------------------------------------------------------------


def test_statistics_follow_what_happens(client: httpx.Client, miner: Owned) -> None:
    def market() -> dict[str, Any]:
        numbers: dict[str, Any] = client.get("/v1/marketplace/stats").json()
        return numbers

    def of_miner() -> dict[str, Any]:
        numbers: dict[str, Any] = client.get(f"/v1/miners/{miner.miner_id}/stats").json()
        return numbers

    fresh = of_miner()
    assert (fresh["reputation"], fresh["total_jobs"], fresh["total_earned"]) == (3.0, 0, "0")
    assert market()["active_miners"] == 1
    submit(client)
    submit(client)
    cancelled = submit(client)
    client.delete(f"/v1/jobs/{cancelled}")
    first, second = miner.poll(slots=2)
    assert (market()["total_jobs"], market()["active_jobs"]) == (3, 2)
    assert miner.complete(first, RESULTS).status_code == 200
    assert miner.job(second, "fail", kind="fail", code="BAD_INPUT", message="no").status_code == 200
    numbers = market()
    duration = numbers.pop("average_completion_time")
    assert 0 < duration < 20
    assert numbers == {
        "total_jobs": 3,
        "active_jobs": 0,
        "completed_jobs": 1,
        "failed_jobs": 1,
        "total_volume": "0.002",
        "active_miners": 1,
    }
    after = of_miner()
    assert (after["total_jobs"], after["success_rate"], after["total_earned"]) == (1, 1.0, "0.002")
    assert after["average_completion_time"] == duration
    assert after["reputation"] > 3.0
    miner.beat(paused="by its owner")
    assert market()["active_miners"] == 0
    refused(client.get("/v1/miners/miner_unknown/stats"), 404, "NOT_FOUND")


def test_blame_is_fair(client: httpx.Client, served: Served, miner: Owned) -> None:
    """Wrong input, cancelling and leases that are handed back cost nothing; failures and wrong statements do."""

    def reputation() -> float:
        value: float = client.get(f"/v1/miners/{miner.miner_id}/stats").json()["reputation"]
        return value

    def running() -> dict[str, Any]:
        submit(client, max_attempts=1)
        return miner.take()

    miner.job(running(), "fail", kind="fail", code="BAD_INPUT", message="no audio")
    client.delete(f"/v1/jobs/{running()['job_id']}")
    lease = running()
    miner.job(lease, "release", reason="shutdown")
    client.delete(f"/v1/jobs/{lease['job_id']}")
    assert reputation() == 3.0
    miner.job(running(), "fail", kind="retry", code="CRASHED", message="the runner crashed")
    failed_once = reputation()
    assert failed_once < 3.0
    lease = running()
    forged = miner.result_body(lease, RESULTS, fence=7)
    assert miner.http.post(f"/jobs/{lease['job_id']}/result", json=forged).status_code == 422
    refused_once = reputation()
    assert refused_once < failed_once
    assert job(client, lease["job_id"])["status"] == "running"
    stranger = Owned(served.url)
    stranger.join()
    foreign = stranger.result_body(lease, RESULTS, origin="another.log")
    assert stranger.http.post(f"/jobs/{lease['job_id']}/result", json=foreign).status_code == 422
    numbers = client.get(f"/v1/miners/{stranger.miner_id}/stats").json()
    assert (numbers["reputation"], numbers["refused_results"]) == (3.0, 0)
    assert miner.complete(lease, RESULTS).status_code == 200
    assert reputation() > refused_once
    numbers = client.get(f"/v1/miners/{miner.miner_id}/stats").json()
    assert (numbers["total_jobs"], numbers["failed_runs"], numbers["refused_results"]) == (2, 1, 1)
