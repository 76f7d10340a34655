"""What is held beside a job's maximum cost is a surcharge: the kernel does not know for which option."""

from __future__ import annotations

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the column."""
    op.execute("ALTER TABLE jobs RENAME COLUMN audit_hold TO surcharge")
