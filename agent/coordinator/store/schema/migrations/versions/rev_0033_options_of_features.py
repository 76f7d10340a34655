"""What features store about jobs is in their own tables, and why audits prove nothing."""

from __future__ import annotations

from alembic import op

from agent.coordinator.store.schema.migrations.declaring import add, create

revision = "0033"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the addresses of webhooks. Labels need no move, since `job_labels` has always had them too."""
    # Defaults, since older replicas add rows without these columns while a cluster is upgraded.
    add("audits", "cause:16='' contradiction:text=''")
    add("audit_proofs", "unproven:int=0 at_fault:int=0 refuted_in_row:int=0")
    create("job_webhooks", "job_id:64 url:text", "job_id", job_id="jobs")
    op.execute(
        "INSERT INTO job_webhooks (job_id, url) SELECT job_id, webhook_url FROM jobs WHERE webhook_url IS NOT NULL"
    )
    for column in ("webhook_url", "labels"):
        op.drop_column("jobs", column)
    op.execute("ALTER TABLE jobs RENAME COLUMN audit_hold TO surcharge")
