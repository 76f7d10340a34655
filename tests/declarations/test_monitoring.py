"""docs/reference/metrics.md, the alert rules and the dashboard use existing metrics and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agent.coordinator.installed import METRICS as COORDINATORS
from agent.metrics import Metric
from agent.miner.metrics import METRICS as MINERS

ROOT = Path(__file__).parents[2]
METRICS: dict[str, Metric] = {metric.name: metric for metric in (*COORDINATORS, *MINERS)}
OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")
OF_PROMETHEUS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
EVERYWHERE = {"instance", "job", "le"}
WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
FUNCTIONS = {
    "sum", "max", "min", "rate", "increase", "delta", "deriv", "histogram_quantile", "topk", "label_values",
    "by", "on", "and", "or", "unless",
}  # fmt: skip


def rules() -> list[dict[str, Any]]:
    text = (ROOT / "configs" / "prometheus" / "alerts.yml").read_text("utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "configs" / "grafana" / "aitbc.json").read_text("utf-8"))
    return loaded


def expressions() -> Iterator[tuple[str, str]]:
    """Yield every query of an alert, a panel and a variable, with its source."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["definition"]


def metric_of(name: str) -> Metric | None:
    """Return the metric that a name in an expression belongs to. A histogram is queried by one of its series."""
    for ending in OF_A_HISTOGRAM:
        found = METRICS.get(name.removesuffix(ending))
        if name.endswith(ending) and found is not None and found.kind == "histogram":
            return found
    found = METRICS.get(name)
    return None if found is None or found.kind == "histogram" else found


def test_expressions_use_existing_metrics_and_labels() -> None:
    for source, expression in expressions():
        check(source, expression)


def check(source: str, expression: str) -> None:
    """Every name is that of a metric, every label belongs to its metric, and brackets are balanced."""
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing), source
    found: list[Metric] = []
    plain = re.sub(r'"[^"]*"', '""', expression)
    for match in re.finditer(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?", re.sub(r"\[[^\]]*\]", "", plain)):
        name, matchers = match.groups()
        if not name.startswith(("aitbc_", "process_", "up")):
            continue
        metric = metric_of(name)
        assert metric is not None or name in OF_PROMETHEUS, (source, name)
        labels = set(WORD.findall(matchers or ""))
        assert labels <= EVERYWHERE | set(metric.labels if metric else ()), (source, name, labels)
        found += [metric] if metric else []
    known = {label for metric in found for label in metric.labels} | EVERYWHERE
    for grouped in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", plain):
        assert set(WORD.findall(grouped)) <= known, (source, grouped)
    others = {
        word
        for word in WORD.findall(re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on)\s*\([^)]*\)", "", plain))
        if not word.startswith(("aitbc_", "process_", "e9")) and word not in OF_PROMETHEUS
    }
    assert others <= FUNCTIONS | known, (source, others)


def test_every_alert_states_what_happened_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 15
    for rule in rules():
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "runbook"}
        assert len(rule["annotations"]["runbook"]) > 40
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        aggregated = re.findall(r"by \(([^)]*)\)", rule["expr"])
        known = {label for metric in METRICS.values() for label in metric.labels} | EVERYWHERE
        assert used <= known
        if aggregated:
            assert used <= set(WORD.findall(aggregated[0])) | {"instance"}, rule["alert"]


def test_the_dashboard_is_consistent() -> None:
    """Ids are unique, panels do not overlap, and each uses the data source and a program variable."""
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    occupied: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert not cells & occupied, panel["title"]
        assert position["x"] + position["w"] <= 24
        occupied |= cells
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert "$coordinator" in target["expr"] or "$miner" in target["expr"], panel["title"]


def test_every_metric_is_used_by_the_dashboard_or_an_alert() -> None:
    """A metric that neither uses would be collected in vain."""
    used = " ".join(expression for _, expression in expressions())
    assert [name for name in METRICS if name not in used] == []


def test_labels_have_a_bounded_number_of_values() -> None:
    """No label has ids or free text as values."""
    bounded = {"service", "state", "outcome", "route", "method", "status", "policy", "transport", "event", "unit", "directory", "gpu", "name", "reason", "kind", "verdict", "role", "version"}  # fmt: skip
    for metric in METRICS.values():
        assert set(metric.labels) <= bounded, metric.name


def test_the_scraping_example_matches_the_alerts() -> None:
    """The alerts on unreachable targets use the names of its jobs."""
    example = yaml.safe_load((ROOT / "configs" / "prometheus" / "scrape.yml").read_text("utf-8"))
    jobs = {job["job_name"] for job in example["scrape_configs"]}
    queried = {name for rule in rules() for name in re.findall(r'job="([^"]*)"', rule["expr"])}
    assert jobs == queried == {"aitbc-coordinator", "aitbc-miner"}


def test_the_example_for_alertmanager_knows_its_receivers_and_the_alerts() -> None:
    """Each message says what to do."""
    example = yaml.safe_load((ROOT / "configs/prometheus/alertmanager.yml").read_text("utf-8"))
    receivers = {receiver["name"]: receiver for receiver in example["receivers"]}
    routes = [example["route"], *example["route"]["routes"]]
    assert {route["receiver"] for route in routes} == set(receivers)
    for receiver in receivers.values():
        for ways in (value for name, value in receiver.items() if name.endswith("_configs")):
            assert all(".Annotations.runbook" in way["text"] for way in ways)
    names = {rule["alert"] for rule in rules()}
    for rule in example["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            assert set(matcher.split('"')[1].split("|")) <= names
