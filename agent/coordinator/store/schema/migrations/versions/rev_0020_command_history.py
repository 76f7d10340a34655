"""Commands that change settings, and a history of executed commands: who gave them, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns to the table of commands, and an index of those that wait."""
    op.add_column("miner_commands", sa.Column("settings", sa.Text(), nullable=True))
    op.add_column(
        "miner_commands", sa.Column("given_by", sa.String(length=120), nullable=False, server_default="")
    )
    op.add_column("miner_commands", sa.Column("executed_at", sa.Float(), nullable=True))
    op.add_column("miner_commands", sa.Column("refusal", sa.Text(), nullable=True))
    waiting = sa.text("executed_at IS NULL")
    op.create_index(
        "ix_miner_commands_waiting",
        "miner_commands",
        ["miner_id", "command_id"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
