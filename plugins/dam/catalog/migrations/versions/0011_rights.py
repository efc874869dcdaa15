"""Permissions, duties and counts of a grant, in the words of ODRL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; what was granted before permits everything and asks for nothing."""
    words = postgresql.ARRAY(sa.String())
    op.add_column("grants", sa.Column("permissions", words, nullable=False, server_default="{*}"))
    op.add_column("grants", sa.Column("duties", words, nullable=False, server_default="{}"))
    for column in ("permissions", "duties"):
        op.alter_column("grants", column, server_default=None)
    op.add_column("grants", sa.Column("max_count", sa.Integer(), nullable=True))
    op.create_check_constraint("count_positive", "grants", "max_count > 0")


def downgrade() -> None:
    """Take them away."""
    op.drop_constraint("count_positive", "grants", type_="check")
    for column in ("max_count", "duties", "permissions"):
        op.drop_column("grants", column)
