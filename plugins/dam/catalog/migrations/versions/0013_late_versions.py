"""Versions that were released from quarantine when their batch was checked already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and the index by which those of a batch are found."""
    op.create_table(
        "late_versions",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("after", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("closed_at IS NULL OR run IS NOT NULL", name=op.f("ck_late_versions_closed_by_a_run")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_late_versions_batch_id_batches")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_late_versions_version_id_versions")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_late_versions")),
    )
    op.create_index("ix_late_versions_batch", "late_versions", ["batch_id"])


def downgrade() -> None:
    """Forget them."""
    op.drop_table("late_versions")
