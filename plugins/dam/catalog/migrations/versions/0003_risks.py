"""Risks of a publication, and who cleared them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the digital team must know, and its signature."""
    op.add_column(
        "publications",
        sa.Column("risks", postgresql.JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
    )
    op.alter_column("publications", "risks", server_default=None)
    op.add_column("publications", sa.Column("cleared_by", sa.Text(), nullable=True))
    op.add_column("publications", sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("clearance_is_signed", "publications", "(cleared_by IS NULL) = (cleared_at IS NULL)")
    op.create_check_constraint(
        "live_is_cleared",
        "publications",
        "status <> 'live' OR risks = '[]'::jsonb OR cleared_by IS NOT NULL",
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_constraint("live_is_cleared", "publications", type_="check")
    op.drop_constraint("clearance_is_signed", "publications", type_="check")
    for column in ("cleared_at", "cleared_by", "risks"):
        op.drop_column("publications", column)
