"""The metrics of a miner for Prometheus, on their own port."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.core.errors import ConfigurationError
from agent.miner.control import ask
from agent.miner.metrics import (
    GPU_MEMORY_FREE_BYTES,
    GPU_POWER,
    GPU_TEMPERATURE,
    GPU_UTILIZATION,
    METRICS,
    RUNNING,
)
from agent.miner.status.prometheus import read
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import make_daemon, running, settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]


async def test_runs_appear_in_the_metrics(coordinator: FakeCoordinator, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, metrics_port=0)
    async with running(make_daemon(settings, coordinator.url)), httpx.AsyncClient() as http:
        good = await coordinator.submit("echo", text="hello")
        bad = await coordinator.submit("fail")
        again = await coordinator.submit("retry")
        await coordinator.until(lambda: good in coordinator.results)
        await coordinator.until(lambda: {bad, again} <= coordinator.failures.keys())
        url = (await ask(settings.data_dir, "status"))["metrics"]
        answer = await http.get(url)
        nothing = await http.get(url.replace("/metrics", "/"))
    assert (answer.status_code, nothing.status_code) == (200, 404)
    assert url.startswith("http://127.0.0.1:")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {metric.name.removesuffix("_total") for metric in METRICS} <= families.keys()
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    outcomes = [
        values["aitbc_miner_jobs_total", outcome, "scripted"]
        for outcome in ("completed", "failed", "retried")
    ]
    assert outcomes == [1, 1, 1]
    assert values["aitbc_miner_units_total", "letter", "scripted"] == 5
    assert values["aitbc_miner_earned_credits_total", "scripted"] == 0.05
    assert values["aitbc_miner_run_seconds_count", "scripted"] == 1
    assert values["aitbc_miner_connected", "websocket"] == 1
    assert values["aitbc_miner_slots",] >= 1
    assert values["aitbc_miner_children",] >= 1
    assert values["aitbc_miner_disk_free_bytes", "data"] > 0


async def test_no_port_is_opened_unless_the_settings_name_one(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path)
    async with running(make_daemon(settings, coordinator.url)):
        assert (await ask(settings.data_dir, "status"))["metrics"] is None


async def test_a_port_in_use_is_reported_with_its_setting(
    coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon = make_daemon(settings_for(tmp_path, metrics_port=taken.getsockname()[1]), coordinator.url)
        with pytest.raises(ConfigurationError, match=r"miner\.metrics_port: cannot listen on 127\.0\.0\.1"):
            await daemon.start()


def test_gpu_metrics_are_those_of_the_driver(tmp_path: Path) -> None:
    """Values that a GPU does not report are omitted rather than zero."""
    card = {
        "uuid": "GPU-1",
        "name": "Card",
        "memory_total": 8,
        "memory_free": 3,
        "temperature": 61,
        "power": 150.5,
    }
    status = {
        "paused": None, "connection": "poll", "slots": {"total": 2, "free": 1}, "outbox": 0, "children": [], "unavailable": {},
        "unavailable_models": {}, "leases": [{"service": "a"}, {"service": "a"}], "gpus": [{**card, "utilization": None}],
    }  # fmt: skip
    values = read(status, {"data": tmp_path})
    labels = ("GPU-1", "Card")
    assert values[GPU_TEMPERATURE] == {labels: 61}
    assert values[GPU_POWER] == {labels: 150.5}
    assert values[GPU_MEMORY_FREE_BYTES] == {labels: 3}
    assert values[GPU_UTILIZATION] == {}
    assert values[RUNNING] == {("a",): 2}


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert metric.name.startswith("aitbc_miner_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
