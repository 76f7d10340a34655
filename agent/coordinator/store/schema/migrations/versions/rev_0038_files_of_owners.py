"""An index of the files of each account, for their list."""

from __future__ import annotations

from agent.coordinator.store.schema.migrations.declaring import index

revision = "0038"
down_revision = "0037"
oldest = "0034"


def upgrade() -> None:
    """Create the index. Older programs maintain it, as they do all indexes."""
    index("artifact_owners_owner", "artifact_owners", "owner artifact_id")
