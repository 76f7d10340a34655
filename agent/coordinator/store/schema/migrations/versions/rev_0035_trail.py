"""What administrators have done."""

from __future__ import annotations

from agent.coordinator.store.schema.migrations.declaring import create

revision = "0035"
down_revision = "0034"
oldest = "0034"


def upgrade() -> None:
    """Create the table of the trail. Older programs work on as before, and write nothing to it."""
    create(
        "admin_trail",
        "entry_id:64 at:float key_id:64 key_name:100 action:200 method:10 path:text details:text",
        "entry_id",
    )
