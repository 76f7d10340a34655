"""The metric of the limits on calls."""

from __future__ import annotations

from typing import Final

from agent.metrics import Metric

RATE_LIMITED: Final = Metric(
    "aitbc_coordinator_rate_limited_requests_total", "counter", "Requests that were answered 429, by policy.", ("policy",)
)  # fmt: skip
METRICS: Final = (RATE_LIMITED,)
