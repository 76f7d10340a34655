"""A salt in the digest of what an auditor has found, since the log is public."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Older replicas add opinions without a salt, whose digests have none."""
    op.add_column("audits", sa.Column("salt", sa.String(length=32), server_default="", nullable=False))
