"""What features store about jobs is in their own tables, and why audits prove nothing."""

from __future__ import annotations

from alembic import op

from agent.coordinator.store.schema.migrations.declaring import add, create, index

revision = "0034"
down_revision = "0030"


def upgrade() -> None:
    """Move the addresses of webhooks and the offers of jobs. Labels need no move, since `job_labels` has always had them too."""
    # Defaults, since older replicas add rows without these columns while a cluster is upgraded.
    add("audits", "cause:16='' contradiction:text=''")
    add("audit_proofs", "unproven:int=0 at_fault:int=0 refuted_in_row:int=0")
    create("job_webhooks", "job_id:64 url:text", "job_id", job_id="jobs")
    op.execute(
        "INSERT INTO job_webhooks (job_id, url) SELECT job_id, webhook_url FROM jobs WHERE webhook_url IS NOT NULL"
    )
    create("offer_jobs", "job_id:64 offer_id:64 account_id:64", "job_id", job_id="jobs")
    index("offer_jobs_offer", "offer_jobs", "offer_id job_id account_id")
    op.execute(
        "INSERT INTO offer_jobs (job_id, offer_id, account_id) SELECT job_id, offer_id, account_id FROM jobs "
        "WHERE offer_id IS NOT NULL AND deleted_at IS NULL"
    )
    for name in ("ix_jobs_offer", "ix_jobs_bound"):
        op.drop_index(name, "jobs")
    for column in ("webhook_url", "labels", "offer_id"):
        op.drop_column("jobs", column)
    op.execute("ALTER TABLE jobs RENAME COLUMN audit_hold TO surcharge")
    index("jobs_agreed", "jobs", "job_id", "state = 'submitted' AND agreed_price IS NOT NULL")
