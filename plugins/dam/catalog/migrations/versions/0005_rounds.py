"""Which package a next round follows, which channels a package is for, and a publication's attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name each next round's package before it, the channels of a workflow of one's own, and count attempts."""
    op.add_column("packages", sa.Column("channels", sa.ARRAY(sa.String()), nullable=True))
    op.add_column("packages", sa.Column("follows_id", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_packages_follows_id"), "packages", "packages", ["follows_id"], ["id"])
    op.create_unique_constraint(op.f("uq_packages_follows_id"), "packages", ["follows_id"])
    # until now it was the first later round that shares a version
    op.execute(
        """
        UPDATE packages SET follows_id = link.earlier
        FROM (
            SELECT DISTINCT ON (earlier.id) earlier.id AS earlier, later.id AS later
            FROM packages AS earlier
            JOIN packages AS later ON later.batch_id = earlier.batch_id AND later.round > earlier.round
            JOIN package_versions AS mine ON mine.package_id = earlier.id
            JOIN package_versions AS theirs ON theirs.package_id = later.id AND theirs.version_id = mine.version_id
            WHERE earlier.status IN ('void', 'expired')
            ORDER BY earlier.id, later.round
        ) AS link
        WHERE packages.id = link.later
        """
    )
    op.add_column("publications", sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))
    op.alter_column("publications", "attempt", server_default=None)


def downgrade() -> None:
    """Take it away."""
    op.drop_column("publications", "attempt")
    op.drop_constraint(op.f("uq_packages_follows_id"), "packages", type_="unique")
    op.drop_constraint(op.f("fk_packages_follows_id"), "packages", type_="foreignkey")
    op.drop_column("packages", "follows_id")
    op.drop_column("packages", "channels")
