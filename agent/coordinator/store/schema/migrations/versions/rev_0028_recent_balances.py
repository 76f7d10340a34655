"""An index of the parts of balances that hold recent changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index. Older replicas add up all parts of a balance, too."""
    recent = sa.text("part >= 16")
    op.create_index(
        "ix_balances_recent", "balances", ["part"], unique=False, sqlite_where=recent, postgresql_where=recent
    )
