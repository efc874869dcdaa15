"""What a look inside a file tells, and checksums in any algorithm."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add fingerprints and words; promised checksums by algorithm."""
    empty = sa.text("'{}'::jsonb")
    op.add_column("versions", sa.Column("fingerprints", postgresql.JSONB(), nullable=False, server_default=empty))
    op.alter_column("versions", "fingerprints", server_default=None)
    op.add_column("versions", sa.Column("words", sa.Text(), nullable=True))
    op.add_column("batch_files", sa.Column("promised", postgresql.JSONB(), nullable=False, server_default=empty))
    op.alter_column("batch_files", "promised", server_default=None)
    op.execute(
        "UPDATE batch_files SET promised = jsonb_build_object('sha256', promised_sha256)"
        " WHERE promised_sha256 IS NOT NULL"
    )
    op.drop_column("batch_files", "promised_sha256")
    # another hash of the pixels: what is there can't be compared with what comes
    op.drop_index("ix_versions_pixel_sha256", table_name="versions")
    op.drop_column("versions", "pixel_sha256")
    op.add_column("versions", sa.Column("pixel_hash", sa.String(length=32), nullable=True))
    op.create_index("ix_versions_pixel_hash", "versions", ["pixel_hash"])
    # near-duplicates are looked up by quarters of the perceptual hash, not by the whole
    op.drop_index("ix_versions_phash", table_name="versions")
    for shift in (0, 16, 32, 48):
        op.execute(
            f"CREATE INDEX ix_versions_phash_{shift} ON versions (((phash >> {shift}) & 65535)) WHERE phash IS NOT NULL"
        )


def downgrade() -> None:
    """Keep what SHA-256 promised."""
    op.add_column("batch_files", sa.Column("promised_sha256", sa.String(length=64), nullable=True))
    op.execute("UPDATE batch_files SET promised_sha256 = promised ->> 'sha256'")
    op.drop_column("batch_files", "promised")
    for shift in (48, 32, 16, 0):
        op.execute(f"DROP INDEX ix_versions_phash_{shift}")
    op.create_index("ix_versions_phash", "versions", ["phash"], postgresql_where=sa.text("phash IS NOT NULL"))
    op.drop_index("ix_versions_pixel_hash", table_name="versions")
    op.drop_column("versions", "pixel_hash")
    op.add_column("versions", sa.Column("pixel_sha256", sa.String(length=64), nullable=True))
    op.create_index("ix_versions_pixel_sha256", "versions", ["pixel_sha256"])
    op.drop_column("versions", "words")
    op.drop_column("versions", "fingerprints")
