"""Spans of OpenTelemetry around the client's calls, and the `traceparent` by which a job belongs to the caller's trace.

A program that uses OpenTelemetry has imported it, and then each call is a span. The command and the agent set it up themselves if the
standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and others) ask for it, which the SDK of OpenTelemetry reads. Nothing is imported otherwise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_VARIABLES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)  # fmt: skip


def is_wanted() -> bool:
    """Return whether the standard variables ask for traces or metrics."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(os.environ.get(name, "none").strip() not in {"", "none"} for name in _VARIABLES)


def configure(service: str, **options: Any) -> bool:
    """Set up the SDK as the variables say. Return False if the packages are not installed.

    `service` is the default of `OTEL_SERVICE_NAME`; `options` are those of the SDK's configurator.
    """
    os.environ.setdefault("OTEL_SERVICE_NAME", service)
    os.environ.setdefault("OTEL_TRACES_EXPORTER", "otlp")
    os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    try:
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator  # noqa: PLC0415 - the SDK's own set-up from the variables

        configurator: Any = _OTelSDKConfigurator
        configurator().configure(**options)
    except ImportError:
        return False
    return True


@contextmanager
def span(name: str) -> Iterator[None]:
    """Be a span of the current trace, if the program uses OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry import trace  # noqa: PLC0415 - see above

    with trace.get_tracer("aitbc").start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        yield


def headers() -> dict[str, str]:
    """Return the headers that carry the current trace to the coordinator."""
    carrier: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry import propagate  # noqa: PLC0415 - see above

        propagate.inject(carrier)
    return carrier
