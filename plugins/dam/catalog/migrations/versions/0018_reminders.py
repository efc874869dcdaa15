"""Reminders of seats, the deadlines they put into people's calendars, and indexes for what a night's report reads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both tables, and the indexes by which seats are found around their deadline and by when they closed."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reminders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seat_id", sa.Text(), nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("claimed_at", moment, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("done_at", moment, nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.CheckConstraint("audience IN ('seat', 'escalation')", name=op.f("ck_reminders_audience")),
        sa.CheckConstraint("outcome IN ('sent', 'off', 'dropped')", name=op.f("ck_reminders_outcome")),
        sa.CheckConstraint("(outcome IS NULL) = (done_at IS NULL)", name=op.f("ck_reminders_done_with_an_outcome")),
        sa.CheckConstraint(
            "outcome <> 'dropped' OR problem IS NOT NULL", name=op.f("ck_reminders_dropped_for_a_reason")
        ),
        sa.ForeignKeyConstraint(["seat_id"], ["seats.id"], name=op.f("fk_reminders_seat_id_seats")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reminders")),
        sa.UniqueConstraint(
            "seat_id", "kind", "person", "due_at", name=op.f("uq_reminders_seat_id_kind_person_due_at")
        ),
    )
    op.create_index("ix_reminders_pending", "reminders", ["tries", "id"], postgresql_where=sa.text("outcome IS NULL"))
    op.create_table(
        "deadline_invitations",
        sa.Column("seat_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("standing", sa.Boolean(), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.ForeignKeyConstraint(["seat_id"], ["seats.id"], name=op.f("fk_deadline_invitations_seat_id_seats")),
        sa.PrimaryKeyConstraint("seat_id", "person", name=op.f("pk_deadline_invitations")),
    )
    op.create_index(
        "ix_deadline_invitations_standing",
        "deadline_invitations",
        ["due_at"],
        postgresql_where=sa.text("standing"),
    )
    op.create_index("ix_seats_unsigned", "seats", ["due_at"], postgresql_where=sa.text("status IN ('open', 'expired')"))
    op.create_index("ix_packages_closed_at", "packages", ["closed_at"])
    op.create_index("ix_decisions_decided_at", "decisions", ["decided_at"])


def downgrade() -> None:
    """Forget what was told."""
    op.drop_index("ix_decisions_decided_at", "decisions")
    op.drop_index("ix_packages_closed_at", "packages")
    op.drop_index("ix_seats_unsigned", "seats")
    op.drop_table("deadline_invitations")
    op.drop_table("reminders")
