"""Generates docs/reference/metrics.md from the declared metrics."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from agent.coordinator.installed import METRICS as COORDINATORS
from agent.metrics import Metric
from agent.miner.metrics import METRICS as MINERS
from generated import NOTE, REFERENCE, linked, publish

HEAD: Final = f"""\
# Metrics

{NOTE}

Prometheus reads both programs. `configs/prometheus` has an example scrape configuration, and alert rules with a remedy for each; `configs/grafana/aitbc.json` is a
dashboard for both programs.

* A **coordinator** answers `GET /metrics` to programs on its own machine, to the networks of `coordinator.metrics_readers`, and from anywhere to
  an administrator's key (`Authorization: Bearer KEY`). A request that a proxy forwards counts as remote. Behind a proxy on the same
  machine, scrape the coordinator's own port.
* A **miner** answers `GET /metrics` on `miner.metrics_port`, without a key, on loopback unless `miner.metrics_host` is set. It opens no port
  unless that port is set. An agent that runs both has two addresses.

```console
$ AITBC_MINER__METRICS_PORT=9420 aitbc-agent start
$ curl http://127.0.0.1:8420/metrics     # the coordinator
$ curl http://127.0.0.1:9420/metrics     # the miner
```

No label holds the id of a job, key or account, or a value that a client chooses. The number of series is therefore bounded by routes, services,
states and cards. Counters start at zero with the program; those marked "stored" come from the database and continue after a restart. Both programs
also report `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_virtual_memory_bytes` and
`process_start_time_seconds`."""


def main() -> int:
    """Return the exit status."""
    return publish({REFERENCE / "metrics.md": linked("\n".join(_lines()) + "\n")})


def _lines() -> Iterator[str]:
    yield HEAD
    yield from _table("Coordinator", COORDINATORS)
    yield from _table("Miner", MINERS)


def _table(title: str, metrics: Sequence[Metric]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield "| name | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        stored = " (stored)" if metric.kind == "counter" and metric.read else ""
        yield f"| `{metric.name}` | {metric.kind}{stored} | {labels} | {metric.meaning} |"


if __name__ == "__main__":
    sys.exit(main())
