"""The metrics of a miner (docs/reference/metrics.md). Labels have few values: services, GPUs, outcomes."""

from __future__ import annotations

from typing import Final

from agent.metrics import Metric

_CARD: Final = ("gpu", "name")

JOBS: Final = Metric(
    "aitbc_miner_jobs_total", "counter",
    "Runs that have ended here, by service and outcome: completed, failed (the input's fault), retried (this machine's), dropped (cancelled or lost).",
    ("service", "outcome"),
)  # fmt: skip
UNITS: Final = Metric(
    "aitbc_miner_units_total", "counter", "Metered work of the results, by service, in the service's own unit.", ("service", "unit")
)  # fmt: skip
PRICED: Final = Metric(
    "aitbc_miner_earned_credits_total", "counter", "The clients' cost of the results, by service, before the coordinator's fee.",
    ("service",),
)  # fmt: skip
RUN_SECONDS: Final = Metric(
    "aitbc_miner_run_seconds", "histogram", "Time from a lease's arrival to its signed result, by service.",
    ("service",), (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0),
)  # fmt: skip
PLACEMENTS: Final = Metric(
    "aitbc_miner_placements_total", "counter",
    "What happened to models on devices, by service: placed, evicted (for another model), released (idle, or for another program), "
    "not_loaded, refused (does not fit at all), waits.", ("service", "event"),
)  # fmt: skip
DOWNLOADED_BYTES: Final = Metric(
    "aitbc_miner_model_download_bytes_total", "counter", "Bytes of models fetched."
)  # fmt: skip

CONNECTED: Final = Metric(
    "aitbc_miner_connected", "gauge", "1 while the coordinator can be reached, by transport (websocket, poll).", ("transport",), read=True
)  # fmt: skip
PAUSED: Final = Metric("aitbc_miner_paused", "gauge", "1 while no jobs are accepted.", read=True)
SLOTS: Final = Metric("aitbc_miner_slots", "gauge", "Jobs that may run at the same time.", read=True)
SLOTS_FREE: Final = Metric("aitbc_miner_slots_free", "gauge", "Slots that are free now.", read=True)
RUNNING: Final = Metric("aitbc_miner_running_jobs", "gauge", "Running jobs, by service.", ("service",), read=True)  # fmt: skip
OUTBOX: Final = Metric(
    "aitbc_miner_outbox_results", "gauge", "Finished jobs that the coordinator has not acknowledged yet.", read=True
)  # fmt: skip
CHILDREN: Final = Metric("aitbc_miner_children", "gauge", "Runner processes.", read=True)
UNAVAILABLE_MODELS: Final = Metric(
    "aitbc_miner_unavailable_models", "gauge", "Catalogue models that are unavailable at present, by service.", ("service",), read=True
)  # fmt: skip
UNAVAILABLE: Final = Metric(
    "aitbc_miner_unavailable_services", "gauge", "Services that this machine does not offer; `aitbc-agent status` shows why.", read=True
)  # fmt: skip
GPU_MEMORY_BYTES: Final = Metric(
    "aitbc_miner_gpu_memory_bytes", "gauge", "Memory of a GPU.", _CARD, read=True
)
GPU_MEMORY_FREE_BYTES: Final = Metric(
    "aitbc_miner_gpu_memory_free_bytes", "gauge", "Free memory of a GPU, as the driver counts it for all programs.", _CARD, read=True
)  # fmt: skip
GPU_UTILIZATION: Final = Metric(
    "aitbc_miner_gpu_utilization_ratio", "gauge", "Share of time in which a GPU was computing, 0 to 1.", _CARD, read=True
)  # fmt: skip
GPU_TEMPERATURE: Final = Metric(
    "aitbc_miner_gpu_temperature_celsius", "gauge", "Temperature of a GPU.", _CARD, read=True
)
GPU_POWER: Final = Metric(
    "aitbc_miner_gpu_power_watts", "gauge", "Power consumption of a GPU.", _CARD, read=True
)
DISK_FREE_BYTES: Final = Metric(
    "aitbc_miner_disk_free_bytes", "gauge", "Free disk space by directory: data (outbox, jobs) or models.", ("directory",), read=True
)  # fmt: skip

METRICS: Final = (
    CONNECTED, PAUSED, SLOTS, SLOTS_FREE, RUNNING, JOBS, RUN_SECONDS, UNITS, PRICED, OUTBOX, CHILDREN, PLACEMENTS, UNAVAILABLE_MODELS, UNAVAILABLE,
    DOWNLOADED_BYTES, GPU_MEMORY_BYTES, GPU_MEMORY_FREE_BYTES, GPU_UTILIZATION, GPU_TEMPERATURE, GPU_POWER, DISK_FREE_BYTES,
)  # fmt: skip
