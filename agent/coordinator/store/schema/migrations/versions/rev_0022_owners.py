"""The owner of the machines that join with an enrolment token."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column."""
    op.add_column("enrolments", sa.Column("owner", sa.String(length=100), nullable=True))
