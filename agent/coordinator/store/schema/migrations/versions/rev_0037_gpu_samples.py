"""A day of samples of miners' GPUs, for charts."""

from __future__ import annotations

from agent.coordinator.store.schema.migrations.declaring import create, index

revision = "0037"
down_revision = "0036"
oldest = "0034"


def upgrade() -> None:
    """Create the table of the samples. Older programs work on as before, and write nothing to it."""
    create("gpu_samples", "miner_id:64 start:big gpus:text", "miner_id start", miner_id="miners")
    index("gpu_samples_start", "gpu_samples", "start miner_id")
