"""Names of blobs, so that artifacts may lie in a bucket, and uploads that clients and miners send there themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables. Existing artifacts are still named by their ids."""
    op.add_column("artifacts", sa.Column("blob", sa.String(length=200), nullable=True))
    op.create_index("ix_artifacts_blob", "artifacts", ["blob"], unique=True)
    op.add_column("uploads", sa.Column("turn", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "removed_blobs",
        sa.Column("blob", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("blob", name=op.f("pk_removed_blobs")),
    )
    op.create_table(
        "upload_segments",
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("blob", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.upload_id"], name=op.f("fk_upload_segments_upload_id")
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_upload_segments")),
    )
    op.create_index("ix_upload_segments_blob", "upload_segments", ["blob"], unique=True)
    _direct_uploads()


def _direct_uploads() -> None:
    op.create_table(
        "direct_uploads",
        sa.Column("upload_id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=True),
        sa.Column("blob", sa.String(length=200), nullable=False),
        sa.Column("multipart_id", sa.Text(), nullable=True),
        sa.Column("part_size", sa.BigInteger(), nullable=False),
        sa.Column("etags", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("checked_until", sa.Float(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_direct_uploads")),
    )
    op.create_index("ix_direct_uploads_blob", "direct_uploads", ["blob"], unique=True)
    op.create_index("ix_direct_uploads_expires_at", "direct_uploads", ["expires_at"])
    op.create_index("ix_direct_uploads_job_id", "direct_uploads", ["job_id"])
    unfinished = sa.text("state <> 'stored'")
    op.create_index(
        "ix_direct_uploads_unfinished",
        "direct_uploads",
        ["owner"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
