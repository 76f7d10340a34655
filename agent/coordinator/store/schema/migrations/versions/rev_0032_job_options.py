"""What features store about jobs is in their own tables: so are the addresses of webhooks, and labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the columns. Labels need no move, since `job_labels` has always had them too."""
    op.create_table(
        "job_webhooks",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_webhooks_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_webhooks")),
    )
    op.execute(
        "INSERT INTO job_webhooks (job_id, url) SELECT job_id, webhook_url FROM jobs WHERE webhook_url IS NOT NULL"
    )
    for column in ("webhook_url", "labels"):
        op.drop_column("jobs", column)
