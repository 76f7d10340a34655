"""Indexes that make the cost of lists and claims independent of the number of jobs."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None

ENDED = "finished_at IS NOT NULL"
OPEN = "finished_at IS NULL"
SUBMITTED = "state = 'submitted'"


def upgrade() -> None:
    """Add the indexes, and drop the one for counting open jobs, whose number is now stored."""
    for name, columns in (("account_service", ["account_id", "service"]), ("service", ["service"])):
        op.create_index(f"ix_jobs_{name}", "jobs", [*columns, "job_id"], unique=False)
    _partial("ix_jobs_ended_by_account", "jobs", ["account_id", "service", "state", "job_id"], ENDED)
    _partial("ix_jobs_ended_by_service", "jobs", ["service", "state", "job_id"], ENDED)
    _partial("ix_jobs_ended_by_state", "jobs", ["state", "job_id"], ENDED)
    _partial("ix_jobs_open_by_service", "jobs", ["service", "state", "job_id"], OPEN)
    _partial("ix_jobs_open_by_state", "jobs", ["state", "job_id"], OPEN)
    _partial("ix_jobs_submitted_by_service", "jobs", ["service", "job_id"], SUBMITTED)
    urgency = ("service", "account_id", sa.text("priority DESC"), "job_id")
    _partial("ix_jobs_claimable_by_account", "jobs", urgency, f"{SUBMITTED} AND missing_files IS NULL")
    _partial("ix_job_counts_waiting", "job_counts", ["service", "account_id"], f"{SUBMITTED} AND count > 0")
    op.drop_index("ix_jobs_open_by_account", table_name="jobs")


def _partial(name: str, table: str, columns: Sequence[str | sa.TextClause], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, list(columns), unique=False, sqlite_where=where, postgresql_where=where)
