"""The hours in which machines were online, to say what an hour earns."""

from __future__ import annotations

from agent.coordinator.store.schema.migrations.declaring import create

revision = "0036"
down_revision = "0035"
oldest = "0034"


def upgrade() -> None:
    """Begin to count the hours of each machine."""
    create("online_days", "miner_id:64 day:int seconds:float", "miner_id day", miner_id="miners")
