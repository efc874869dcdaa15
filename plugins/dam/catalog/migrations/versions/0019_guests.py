"""External reviewers, their one-time passwords, sessions and limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables of guests."""
    op.create_table(
        "guests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("package_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("may_comment", sa.Boolean(), nullable=False),
        sa.Column("seat_id", sa.Text(), nullable=True),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("invited_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.Column("advice", sa.Text(), nullable=True),
        sa.Column("advice_comment", sa.Text(), nullable=False),
        sa.Column("advised_at", _MOMENT, nullable=True),
        sa.CheckConstraint("(revoked_by IS NULL) = (revoked_at IS NULL)", name=op.f("ck_guests_revocation_is_signed")),
        sa.CheckConstraint("(advice IS NULL) = (advised_at IS NULL)", name=op.f("ck_guests_advice_has_a_time")),
        sa.CheckConstraint(
            "advice IS NULL OR advice IN ('approve', 'request_changes', 'reject')", name=op.f("ck_guests_advice")
        ),
        sa.CheckConstraint("email = lower(email)", name=op.f("ck_guests_email")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_guests_package_id")),
        sa.ForeignKeyConstraint(["seat_id"], ["seats.id"], name=op.f("fk_guests_seat_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guests")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_guests_token_sha256")),
    )
    op.create_index(op.f("ix_guests_package_id"), "guests", ["package_id"])
    op.create_index(
        "uq_guests_one_link", "guests", ["package_id", "email"], unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )  # fmt: skip
    op.create_table(
        "guest_codes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("guest_id", sa.Text(), nullable=False),
        sa.Column("device_sha256", sa.String(64), nullable=False),
        sa.Column("code_sha256", sa.String(64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("made_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["guest_id"], ["guests.id"], name=op.f("fk_guest_codes_guest_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guest_codes")),
    )
    op.create_index(op.f("ix_guest_codes_guest_id"), "guest_codes", ["guest_id"])
    op.create_table(
        "guest_sessions",
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("guest_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("browser", sa.Text(), nullable=False),
        sa.Column("begun_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["guest_id"], ["guests.id"], name=op.f("fk_guest_sessions_guest_id")),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_guest_sessions")),
    )
    op.create_index(op.f("ix_guest_sessions_guest_id"), "guest_sessions", ["guest_id"])
    op.create_table(
        "rate_limits",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limits")),
    )
    op.create_index(op.f("ix_rate_limits_since"), "rate_limits", ["since"])


def downgrade() -> None:
    """Take them away."""
    for table in ("rate_limits", "guest_sessions", "guest_codes", "guests"):
        op.drop_table(table)
