"""The vocabulary whole, taggers with what they say and cost, and re-tagging as a diff."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
MONEY = sa.Numeric(14, 6)
JSON = postgresql.JSONB()


def upgrade() -> None:
    """Add columns to terms and tags, and the tables."""
    op.add_column("terms", sa.Column("content", JSON, nullable=False, server_default=sa.text("'{}'::jsonb")))
    op.alter_column("terms", "content", server_default=None)
    for name, kind, empty in (("model", sa.Text(), "''"), ("because", sa.Text(), "''"), ("cost", MONEY, "0")):
        op.add_column("tags", sa.Column(name, kind, nullable=False, server_default=sa.text(empty)))
        op.alter_column("tags", name, server_default=None)
    op.create_check_constraint("cost_not_negative", "tags", "cost >= 0")
    op.create_index(
        "ix_tags_people", "tags", ["version_id", "term_id"], postgresql_where=sa.text("source LIKE 'person:%'")
    )
    op.create_table(
        "vocabulary_mirror",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("facets", JSON, nullable=False),
        sa.Column("synced_at", MOMENT, nullable=False),
        sa.CheckConstraint("name = 'vocabulary'", name=op.f("ck_vocabulary_mirror_one_row")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_vocabulary_mirror")),
    )
    _taggers()
    _retags()


def _taggers() -> None:
    op.create_table(
        "tagger_spend",
        sa.Column("tagger", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("money", MONEY, nullable=False),
        sa.PrimaryKeyConstraint("tagger", "day", name=op.f("pk_tagger_spend")),
    )
    op.create_table(
        "tagger_looks",
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("tagger", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("cost", MONEY, nullable=False),
        sa.Column("looked_at", MOMENT, nullable=False),
        sa.CheckConstraint("outcome IN ('begun', 'done', 'skipped', 'failed')", name=op.f("ck_tagger_looks_outcome")),
        sa.CheckConstraint(
            "outcome NOT IN ('skipped', 'failed') OR note <> ''", name=op.f("ck_tagger_looks_reason_given")
        ),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_tagger_looks_version_id")),
        sa.PrimaryKeyConstraint("version_id", "tagger", name=op.f("pk_tagger_looks")),
    )
    op.create_table(
        "tagger_models",
        sa.Column("tagger", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("trained_at", MOMENT, nullable=False),
        sa.Column("examples", sa.Integer(), nullable=False),
        sa.Column("measured", JSON, nullable=False),
        sa.Column("storage_uri", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tagger", "version", name=op.f("pk_tagger_models")),
    )


def _retags() -> None:
    op.create_table(
        "retag_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("taggers", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("since", MOMENT, nullable=True),
        sa.Column("vocabulary_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("notes", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("applied_by", sa.Text(), nullable=True),
        sa.Column("applied_at", MOMENT, nullable=True),
        sa.Column("rolled_back_by", sa.Text(), nullable=True),
        sa.Column("rolled_back_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('comparing', 'proposed', 'applied', 'rolled_back')", name=op.f("ck_retag_runs_status")
        ),
        sa.CheckConstraint(
            "status <> 'applied' OR (applied_by IS NOT NULL AND applied_at IS NOT NULL)",
            name=op.f("ck_retag_runs_signed"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retag_runs")),
    )
    op.create_table(
        "retag_changes",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("term_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("old", JSON, nullable=True),
        sa.Column("new", JSON, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('added', 'removed', 'changed')", name=op.f("ck_retag_changes_kind")),
        sa.CheckConstraint(
            "(kind = 'added') = (old IS NULL) AND (kind = 'removed') = (new IS NULL)",
            name=op.f("ck_retag_changes_kind_fits"),
        ),
        sa.CheckConstraint(
            "outcome IN ('proposed', 'applied', 'left_out', 'rolled_back')", name=op.f("ck_retag_changes_outcome")
        ),
        sa.CheckConstraint("outcome <> 'left_out' OR note <> ''", name=op.f("ck_retag_changes_reason_given")),
        sa.ForeignKeyConstraint(["run_id"], ["retag_runs.id"], name=op.f("fk_retag_changes_run_id")),
        sa.ForeignKeyConstraint(["term_id"], ["terms.id"], name=op.f("fk_retag_changes_term_id")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_retag_changes_version_id")),
        sa.PrimaryKeyConstraint("run_id", "version_id", "term_id", "source", name=op.f("pk_retag_changes")),
    )
    op.create_index(op.f("ix_retag_changes_version_id"), "retag_changes", ["version_id"], unique=False)
    op.create_table(
        "retag_verdicts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("judged_at", MOMENT, nullable=False),
        sa.CheckConstraint("verdict IN ('accepted', 'refused')", name=op.f("ck_retag_verdicts_verdict")),
        sa.ForeignKeyConstraint(["run_id"], ["retag_runs.id"], name=op.f("fk_retag_verdicts_run_id")),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_retag_verdicts_version_id")),
        sa.PrimaryKeyConstraint("run_id", "version_id", name=op.f("pk_retag_verdicts")),
    )


def downgrade() -> None:
    """Take it away."""
    for table in (
        "retag_verdicts", "retag_changes", "retag_runs", "tagger_models", "tagger_looks", "tagger_spend",
        "vocabulary_mirror",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_index("ix_tags_people", table_name="tags")
    op.drop_constraint("cost_not_negative", "tags", type_="check")
    for column in ("cost", "because", "model"):
        op.drop_column("tags", column)
    op.drop_column("terms", "content")
