"""Why somebody is away, and when a guest's link was made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns; links that are there are as old as their invitation."""
    op.add_column("absences", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    op.alter_column("absences", "reason", server_default=None)
    op.add_column("guests", sa.Column("linked_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE guests SET linked_at = invited_at")
    op.alter_column("guests", "linked_at", nullable=False)


def downgrade() -> None:
    """Take them away."""
    op.drop_column("guests", "linked_at")
    op.drop_column("absences", "reason")
