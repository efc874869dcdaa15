"""What the malware scanner said of a version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add state and note; what is there already was not scanned."""
    op.add_column("versions", sa.Column("scan", sa.Text(), nullable=False, server_default="not_scanned"))
    op.alter_column("versions", "scan", server_default=None)
    op.add_column("versions", sa.Column("scan_note", sa.Text(), nullable=True))
    op.execute("UPDATE versions SET scan_note = 'taken in before there was a scanner'")
    op.create_check_constraint(
        op.f("ck_versions_scan"), "versions", "scan IN ('clean', 'not_scanned', 'awaited', 'infected')"
    )
    op.create_check_constraint(
        op.f("ck_versions_unsafe_is_set_aside"),
        "versions",
        "scan NOT IN ('awaited', 'infected') OR state IN ('received', 'quarantined', 'destroyed')",
    )
    op.create_index(
        op.f("ix_versions_awaited"), "versions", ["created_at"], postgresql_where=sa.text("scan = 'awaited'")
    )


def downgrade() -> None:
    """Forget what the scanner said."""
    op.drop_index(op.f("ix_versions_awaited"), table_name="versions")
    op.drop_constraint(op.f("ck_versions_unsafe_is_set_aside"), "versions")
    op.drop_constraint(op.f("ck_versions_scan"), "versions")
    op.drop_column("versions", "scan_note")
    op.drop_column("versions", "scan")
