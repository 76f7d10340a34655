"""The trace that a client's job belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. The trace ids of existing jobs are derived from their ids."""
    op.add_column("jobs", sa.Column("client_trace_id", sa.String(length=32), nullable=True))
