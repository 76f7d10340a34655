"""Names, labels and logs of jobs, names of their files, and deletion of their data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_LISTED = "deleted_at IS NULL"
_ENDED = "finished_at IS NOT NULL AND deleted_at IS NULL"
_LISTS = (
    ("ix_jobs_account", ["account_id", "job_id"], _LISTED),
    ("ix_jobs_account_state", ["account_id", "state", "job_id"], _LISTED),
    ("ix_jobs_account_service", ["account_id", "service", "job_id"], _LISTED),
    ("ix_jobs_service", ["service", "job_id"], _LISTED),
    ("ix_jobs_ended_by_account", ["account_id", "service", "state", "job_id"], _ENDED),
    ("ix_jobs_ended_by_service", ["service", "state", "job_id"], _ENDED),
    ("ix_jobs_ended_by_state", ["state", "job_id"], _ENDED),
)
_NEW_LISTS = (
    ("ix_jobs_account_name", ["account_id", "name", "job_id"], _LISTED),
    ("ix_jobs_miner", ["miner_id", "job_id", "account_id"], "miner_id IS NOT NULL AND deleted_at IS NULL"),
    ("ix_jobs_offer", ["offer_id", "job_id", "account_id"], "offer_id IS NOT NULL AND deleted_at IS NULL"),
)


def upgrade() -> None:
    """Add the columns and tables, and leave jobs whose data was deleted out of the indexes of lists."""
    op.add_column("jobs", sa.Column("name_given", sa.Integer(), server_default="1", nullable=False))
    op.add_column("jobs", sa.Column("labels", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("deleted_at", sa.Float(), nullable=True))
    op.add_column("artifact_owners", sa.Column("file_name", sa.String(length=255), nullable=True))
    op.add_column("job_artifacts", sa.Column("file_name", sa.String(length=255), nullable=True))
    for name, _, _ in _LISTS:
        op.drop_index(name, table_name="jobs")
    for name, columns, condition in (*_LISTS, *_NEW_LISTS):
        where = sa.text(condition)
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)
    _labels()
    _logs()


def _labels() -> None:
    op.create_table(
        "job_labels",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_labels_job_id")),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_job_labels")),
    )
    op.create_index("ix_job_labels_account", "job_labels", ["account_id", "key", "value", "job_id"])
    op.create_index("ix_job_labels_value", "job_labels", ["key", "value", "job_id"])


def _logs() -> None:
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("truncated", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_logs_job_id")),
        sa.PrimaryKeyConstraint("job_id", "fence", "part", name=op.f("pk_job_logs")),
    )
    op.create_index(op.f("ix_job_logs_created_at"), "job_logs", ["created_at"])
