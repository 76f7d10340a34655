"""Writes docs/metrics.md from the metrics of the code.

.venv/bin/python scripts/pages/metrics_docs.py           writes it
.venv/bin/python scripts/pages/metrics_docs.py --check   says whether it is what the code gives
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from agent.coordinator.metrics import METRICS as COORDINATORS
from agent.metrics import Metric
from agent.miner.metrics import METRICS as MINERS

TARGET: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
COMMAND: Final = ".venv/bin/python scripts/pages/metrics_docs.py"

HEAD: Final = """\
# Metrics

<!-- Made from the code by {command}; do not edit. -->

Prometheus reads both programs. [configs/prometheus](../configs/prometheus) has an example of what to scrape and alert rules, each with what to
do; [configs/grafana/aitbc.json](../configs/grafana/aitbc.json) is a dashboard of both.

* A **coordinator** answers `GET /metrics` to programs of its own machine, to the networks of `coordinator.metrics_readers`, and from anywhere to
  an administrator's key (`Authorization: Bearer KEY`). What a proxy forwards counts as coming from elsewhere. Behind a proxy on the same
  machine, scrape the coordinator's own port.
* A **miner** answers `GET /metrics` on `miner.metrics_port`, without a key, on loopback unless `miner.metrics_host` says otherwise. Without that
  setting no port is opened. An agent that runs both has two addresses.

```console
$ AITBC_MINER__METRICS_PORT=9420 aitbc-agent start
$ curl http://127.0.0.1:8420/metrics     # the coordinator
$ curl http://127.0.0.1:9420/metrics     # the miner
```

No label holds an id of a job, a key or an account, nor anything that a client chooses, so the number of series is bounded: by routes, services,
states and cards. Counters count since the program started; those marked "kept" come from the database and go on after a restart. Both programs
also tell `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`, `process_virtual_memory_bytes` and
`process_start_time_seconds` of their process."""


def main() -> int:
    """Returns the exit status."""
    text = "\n".join(_lines()) + "\n"
    if "--check" in sys.argv[1:]:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"docs/{TARGET.name} is not what the code gives; run: {COMMAND}")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


def _lines() -> Iterator[str]:
    yield HEAD.format(command=COMMAND)
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
        kept = " (kept)" if metric.kind == "counter" and metric.read else ""
        yield f"| `{metric.name}` | {metric.kind}{kept} | {labels} | {metric.meaning} |"


if __name__ == "__main__":
    sys.exit(main())
