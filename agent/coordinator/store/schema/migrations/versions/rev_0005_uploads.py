"""Resumable uploads, and how many bytes each owner has stored."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and count the artifacts that are already stored."""
    op.create_table(
        "stored_bytes",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_stored_bytes")),
    )
    op.execute(
        "INSERT INTO stored_bytes (owner, size) SELECT artifact_owners.owner, SUM(artifacts.size) FROM artifact_owners "
        "JOIN artifacts ON artifacts.artifact_id = artifact_owners.artifact_id GROUP BY artifact_owners.owner"
    )
    op.create_table(
        "uploads",
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("artifact_id", sa.String(length=80), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_uploads_account_id")),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"], unique=False)
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_uploads_unfinished",
        "uploads",
        ["account_id"],
        unique=False,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
