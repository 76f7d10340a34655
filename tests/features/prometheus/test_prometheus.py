"""`/metrics`: the coordinator's metrics for Prometheus, and access to them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.coordinator.installed import METRICS
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}
SERVICE = "whisper_transcription"
SUBMIT = "/v1/services/whisper/transcribe"

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A separate coordinator, since the tests compare numbers."""
    with serve(tmp_path_factory.mktemp("metrics"), open_enrolment=True) as running:
        yield running


@pytest.fixture
def scraped(served: Served) -> Iterator[Scrape]:
    with httpx.Client(base_url=served.url) as http:
        yield Scrape(http)


class Scrape:
    """Reads metrics as Prometheus does."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.samples: dict[Sample, float] = {}
        self.again()

    def again(self) -> Scrape:
        answer = self._http.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        self.families = list(text_string_to_metric_families(answer.text))
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }
        return self

    def value(self, name: str, **labels: str) -> float:
        return self.samples.get((name, frozenset(labels.items())), 0.0)


def test_metrics_follow_a_job_to_its_end(
    served: Served, scraped: Scrape, miner: ScriptedMiner, client: httpx.Client
) -> None:
    name = "aitbc_coordinator_{}".format
    job_id = submit(client)
    submit(client)
    waiting = scraped.again()
    assert waiting.value(name("jobs"), service=SERVICE, state="submitted") == 2
    assert waiting.value(name("queue_jobs")) == 2
    assert 0 < waiting.value(name("queue_oldest_age_seconds")) < 60
    assert waiting.value(name("jobs_submitted_total"), service=SERVICE) == 2
    assert waiting.value(name("miners"), state="online") == 1
    (lease,) = miner.poll()
    running = scraped.again()
    assert running.value(name("jobs"), service=SERVICE, state="running") == 1
    assert running.value(name("jobs_claimed_total"), service=SERVICE) == 1
    assert running.value(name("job_pickup_seconds_count"), service=SERVICE) == 1
    assert miner.complete(lease, RESULTS).status_code == 200
    done = scraped.again()
    assert done.value(name("jobs_finished_total"), service=SERVICE, outcome="completed") == 1
    assert done.value(name("job_run_seconds_count"), service=SERVICE) == 1
    assert done.value(name("job_pickup_seconds_sum"), service=SERVICE) < 60
    assert done.value(name("settled_credits_total")) == pytest.approx(0.0125)
    assert done.value(name("http_requests_total"), route=SUBMIT, method="POST", status="201") == 2
    assert done.value(name("database_commit_seconds_count")) > 4
    assert done.value(name("miner_registrations_total")) == 1
    assert done.value("process_resident_memory_bytes") > 0
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "completed"


def test_exactly_the_declared_metrics_are_exposed_with_their_meanings(scraped: Scrape) -> None:
    """In this format, the names of families have no `_total`."""
    exposed = {family.name: family for family in scraped.families if not family.name.startswith("process_")}
    assert exposed.keys() == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = exposed[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("aitbc_coordinator_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name


def test_values_chosen_by_callers_add_no_series(
    served: Served, scraped: Scrape, client: httpx.Client
) -> None:
    """Ids are parts of a route; all unknown paths and methods share a name."""
    before = len(scraped.again().samples)
    for number in range(20):
        client.get(f"/v1/jobs/job_{number}")
        client.get(f"/api/v1/jobs/job_{number}")
        client.get(f"/nothing/{number}")
        client.request("PROPFIND", f"/nothing/{number}")
    after = scraped.again()
    name = "aitbc_coordinator_http_requests_total"
    assert after.value(name, route="/v1/jobs/{job_id}", method="GET", status="404") == 40
    assert after.value(name, route="none", method="GET", status="404") == 20
    assert after.value(name, route="none", method="other", status="404") == 20
    assert len(after.samples) - before < 60


def test_metrics_are_readable_from_configured_addresses_or_with_an_administrators_key(tmp_path: Path) -> None:
    with (
        serve(tmp_path, metrics_readers=["192.0.2.0/24"]) as served,
        httpx.Client(base_url=served.url) as http,
    ):

        def status(**headers: str) -> int:
            return http.get("/metrics", headers=headers).status_code

        assert status() == 401
        assert status(Authorization=f"Bearer {served.client_key}") == 403
        assert status(Authorization=f"Bearer {served.admin_key}") == 200


def test_a_request_forwarded_by_a_local_proxy_is_not_from_this_machine(served: Served) -> None:
    forwarded = {"X-Forwarded-For": "198.51.100.7"}
    assert httpx.get(f"{served.url}/metrics", headers=forwarded).status_code == 401
    assert httpx.get(f"{served.url}/metrics").status_code == 200
    assert httpx.get(f"{served.url}/v1/metrics").status_code == 404


def test_counting_in_many_threads_loses_no_call(served: Served, scraped: Scrape) -> None:
    name = "aitbc_coordinator_http_requests_total"
    labels = {"route": "/v1/health", "method": "GET", "status": "200"}
    before = scraped.again().value(name, **labels)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: httpx.get(f"{served.url}/v1/health"), range(40)))
    assert scraped.again().value(name, **labels) - before == 40
