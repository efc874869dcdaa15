"""Films and sounds that are alike: by what they are found, and how a pair is alike.

Marks of versions that are there already come from ``dam duplicates find``: a fingerprint of sound is packed, and
only the library that packed it can read it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

CHECKS = {
    "alike_in_some_way": "num_nonnulls(distance, key_frames, sound) > 0",
    "same_pixels_have_a_distance": "NOT same_pixels OR distance IS NOT NULL",
}


def upgrade() -> None:
    """Add marks, and to pairs how films and sounds are alike."""
    op.create_table(
        "fingerprint_marks",
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_fingerprint_marks_version_id")),
        sa.PrimaryKeyConstraint("mark", "version_id", name=op.f("pk_fingerprint_marks")),
    )
    op.alter_column("near_duplicates", "distance", nullable=True)
    for column in ("key_frames", "sound"):
        op.add_column("near_duplicates", sa.Column(column, sa.Float(), nullable=True))
    for name, rule in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_near_duplicates_{name}"), "near_duplicates", rule)


def downgrade() -> None:
    """Forget them: pairs that don't look alike by a picture go."""
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_near_duplicates_{name}"), "near_duplicates", type_="check")
    op.execute("DELETE FROM near_duplicates WHERE distance IS NULL")
    for column in ("sound", "key_frames"):
        op.drop_column("near_duplicates", column)
    op.alter_column("near_duplicates", "distance", nullable=False)
    op.drop_table("fingerprint_marks")
