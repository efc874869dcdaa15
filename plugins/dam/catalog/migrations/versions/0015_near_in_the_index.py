"""Perceptual hashes are compared in their indexes: of a thousand candidates, hardly one is a row to be read."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put hash and id into the indexes of its quarters."""
    _make(" INCLUDE (phash, id)")


def downgrade() -> None:
    """Leave them out again."""
    _make("")


def _make(more: str) -> None:
    for shift in (0, 16, 32, 48):
        op.execute(f"DROP INDEX ix_versions_phash_{shift}")
        op.execute(
            f"CREATE INDEX ix_versions_phash_{shift} ON versions (((phash >> {shift}) & 65535)){more}"
            " WHERE phash IS NOT NULL"
        )
