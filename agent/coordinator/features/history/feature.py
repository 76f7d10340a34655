"""Charts over time: jobs, money, the queue, miners and their GPUs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.history import gpus, routes, series
from agent.coordinator.hooks import Hooks

SECONDS: Final = 60.0
"""Pause between samples, and between deletions of old figures."""
GPU_SECONDS: Final = 600.0
"""Pause between deletions of old samples of GPUs."""

FEATURE: Final = Feature(
    name="history",
    routers=(routes.router, routes.machines),
    part=gpus.SampledMiners,
    open=lambda _: gpus.SampledMiners(),
    tasks=(
        Task("history", SECONDS, series.sample),
        Task("old_figures", SECONDS, series.delete_old),
        Task("old_gpu_samples", GPU_SECONDS, gpus.delete_old),
    ),
    hooks=Hooks(
        jobs_submitted=series.jobs_submitted,
        jobs_changed=series.jobs_changed,
        money_booked=series.money_booked,
        miner_reported=gpus.miner_reported,
    ),
)
