"""Why audits prove nothing, and how many opinions of each auditor do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Older replicas add opinions without a cause, and leave the numbers as they are."""
    op.add_column("audits", sa.Column("cause", sa.String(length=16), server_default="", nullable=False))
    op.add_column("audits", sa.Column("contradiction", sa.Text(), server_default="", nullable=False))
    for name in ("unproven", "at_fault", "refuted_in_row"):
        op.add_column("audit_proofs", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
