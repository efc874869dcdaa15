"""What is told of a batch, and where each of its files came from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add notes, papers and times to batches; archive, sidecars and time to their files."""
    moment = sa.DateTime(timezone=True)
    for table, name, kind, empty in (
        ("batches", "notes", postgresql.JSONB(), "'[]'::jsonb"),
        ("batches", "papers", sa.ARRAY(sa.String()), "'{}'"),
        ("batch_files", "sidecars", sa.ARRAY(sa.String()), "'{}'"),
    ):
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default=sa.text(empty)))
        op.alter_column(table, name, server_default=None)
    op.add_column("batches", sa.Column("planned_at", moment, nullable=True))
    op.add_column("batch_files", sa.Column("archive", sa.Text(), nullable=True))
    op.add_column("batch_files", sa.Column("done_at", moment, nullable=True))


def downgrade() -> None:
    """Forget them."""
    for table, name in (
        ("batch_files", "done_at"),
        ("batch_files", "archive"),
        ("batches", "planned_at"),
        ("batch_files", "sidecars"),
        ("batches", "papers"),
        ("batches", "notes"),
    ):
        op.drop_column(table, name)
