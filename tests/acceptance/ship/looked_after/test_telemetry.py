"""OpenTelemetry: the trace of a job in a real collector, Arize Phoenix from PyPI, and the metrics at a receiver of OTLP."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from support.agents import Agent, environment_of_programs, running
from support.inputs.media import make_video

pytestmark = pytest.mark.acceptance

PHOENIX = "arize-phoenix>=12"
SECONDS = 300
# A client of its own, as an application is: its span is above those of the SDK.
CLIENT = """
import sys
from aitbc import AITBCClient
from aitbc._http import client_spans
client_spans.configure("application")
from opentelemetry import trace
client = AITBCClient()
with trace.get_tracer("application").start_as_current_span("application"):
    stored = client.artifacts.upload(sys.argv[1])
    body = {"input_url": f"artifact:{stored.artifact_id}", "output_format": "mkv", "codec": "h264"}
    job = client.jobs.create({"name": "x", "type": "video-transcoding", "parameters": body})
    client.jobs.wait(job.job_id, timeout=300)
print(job.job_id)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def eventually(read: Callable[[], Any]) -> Any:
    """Return the first value that is true."""
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        try:
            if value := read():
                return value
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail("the collector did not have it in time")


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A collector of traces, in an environment of its own."""
    directory = tmp_path_factory.mktemp("phoenix")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, directory / "venv"], check=True)
    install = [*uv, "pip", "install", "-q", "--python", directory / "venv/bin/python", PHOENIX]
    if subprocess.run(install, check=False, timeout=900).returncode:
        pytest.skip("the package index has no arize-phoenix")
    port = free_port()
    environment = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(directory),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [directory / "venv/bin/phoenix", "serve"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: httpx.get(f"{url}/healthz").is_success)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def test_the_trace_of_a_job_leads_from_the_clients_call_to_the_end_of_its_runner(
    phoenix: str, tmp_path: Path
) -> None:
    """Its times are those of `explain`, and it contains no name of a file."""
    video = make_video(tmp_path / "holiday.mp4")
    telemetry = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": phoenix,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    agent = Agent(tmp_path / "agent/data", "start", "--port", "0", **telemetry)
    with running(agent):
        keys = {"AITBC_API_KEY": agent.file["client_key"], "AITBC_BASE_URL": agent.url}
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, video], env={**environment_of_programs(), **telemetry, **keys}, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        job_id = done.stdout.strip()
        with agent.client() as client:
            explained = client.jobs.explain(job_id)

        def complete() -> Mapping[str, Any] | None:
            answer = httpx.get(f"{phoenix}/v1/projects/default/spans", params={"limit": 1000}).json()
            by_name = {span["name"]: span for span in answer["data"]}
            return by_name if {"application", "job", "run on the miner", "upload"} <= by_name.keys() else None

        spans = eventually(complete)
    assert len({span["context"]["trace_id"] for span in spans.values()}) == 1
    above = {
        "aitbc.jobs.create": "application",
        "submit": "aitbc.jobs.create",
        "job": "submit",
        "queue": "job",
        "run": "job",
        "run on the miner": "run",
        "fetching": "run on the miner",
        "loading": "run on the miner",
        "running": "run on the miner",
        "upload": "run",
    }
    for name, parent in above.items():
        assert spans[name]["parent_id"] == spans[parent]["context"]["span_id"], name
    assert moment(spans["job"]["start_time"]) == moment(explained.submitted_at)
    assert moment(spans["queue"]["start_time"]) == moment(explained.submitted_at)
    assert moment(spans["queue"]["end_time"]) == moment(explained.started_at)
    assert moment(spans["run"]["start_time"]) == moment(explained.started_at)
    assert moment(spans["run"]["end_time"]) == moment(explained.finished_at)
    assert moment(spans["job"]["end_time"]) == moment(explained.finished_at)
    assert "holiday" not in json.dumps(spans)


def moment(text: str | None) -> float:
    """Seconds since the epoch, to the millisecond that answers have."""
    assert text is not None
    return int(datetime.fromisoformat(text).timestamp() * 1000 + 1e-3) / 1000


class Receiver(BaseHTTPRequestHandler):
    """Decodes metrics with the protocol's own messages: Debian's Prometheus is built without OTLP, and Phoenix takes traces only."""

    received: ClassVar[dict[str, Any]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportMetricsServiceRequest.FromString(
            gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        )
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.received.update({metric.name: metric for metric in scope.metrics})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_metrics_of_coordinator_and_miner_are_sent_by_otlp(tmp_path: Path) -> None:
    """Gauges, counters and histograms."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    received = Receiver.received

    def online() -> bool:
        points = (
            received["aitbc_coordinator_miners"].gauge.data_points
            if "aitbc_coordinator_miners" in received
            else ()
        )
        return any(
            point.as_double == 1 and point.attributes[0].value.string_value == "online" for point in points
        )

    try:
        with running(Agent(tmp_path / "agent/data", "start", "--port", "0", **variables)):
            eventually(online)
            eventually(lambda: received.get("aitbc_miner_slots"))
            eventually(lambda: received.get("aitbc_coordinator_http_requests"))
            assert received["aitbc_coordinator_http_requests"].sum.is_monotonic
            eventually(lambda: received.get("aitbc_coordinator_http_request_duration_seconds"))
            point = received["aitbc_coordinator_http_request_duration_seconds"].histogram.data_points[0]
            assert sum(point.bucket_counts) == point.count > 0
    finally:
        server.shutdown()
