"""Merges of versions with the same pixels, and what a librarian said of pairs that look alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

#: As 0002 has it, but for what ``{undo}`` stands for: an undone merge takes a version back to where it was.
VERSION_RULES = """
CREATE OR REPLACE FUNCTION dam_check_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sha256 <> OLD.sha256 OR NEW.bytes <> OLD.bytes
       OR (OLD.asset_id IS NOT NULL AND (NEW.asset_id, NEW.number) IS DISTINCT FROM (OLD.asset_id, OLD.number))
    THEN
        RAISE EXCEPTION 'the bytes and the number of version % never change', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state <> OLD.state THEN
        IF NOT EXISTS (
            SELECT 1 FROM lifecycle_transitions WHERE from_state = OLD.state AND to_state = NEW.state
        ){undo} THEN
            RAISE EXCEPTION 'a version that is % can''t become %', OLD.state, NEW.state
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.state IN ('archived', 'destroyed') AND EXISTS (
            SELECT 1 FROM holds h WHERE h.released_at IS NULL AND (
                h.asset_id = NEW.asset_id
                OR h.campaign_id = (SELECT a.campaign_id FROM assets a WHERE a.id = NEW.asset_id))
        ) THEN
            RAISE EXCEPTION 'version % is on legal hold', OLD.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$
"""
UNDO = """ AND NOT (
            OLD.state = 'archived' AND EXISTS (
                SELECT 1 FROM merges m
                WHERE m.dropped_version_id = OLD.id AND m.undone_at IS NULL AND m.state_before = NEW.state)
        )"""

MERGE_RULES = """
CREATE FUNCTION dam_check_merge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.undone_at IS NOT NULL OR NEW.undone_at IS NULL
       OR (NEW.id, NEW.kept_version_id, NEW.dropped_version_id, NEW.kept_asset_id, NEW.dropped_asset_id,
           NEW.state_before, NEW.changes, NEW.merged_by, NEW.merged_at)
          IS DISTINCT FROM
          (OLD.id, OLD.kept_version_id, OLD.dropped_version_id, OLD.kept_asset_id, OLD.dropped_asset_id,
           OLD.state_before, OLD.changes, OLD.merged_by, OLD.merged_at)
    THEN
        RAISE EXCEPTION 'merge % never changes but for being undone, once', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    """Add merges, the link from a merged version, and answers to pairs."""
    op.create_table(
        "merges",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kept_version_id", sa.Text(), nullable=False),
        sa.Column("dropped_version_id", sa.Text(), nullable=False),
        sa.Column("kept_asset_id", sa.Text(), nullable=False),
        sa.Column("dropped_asset_id", sa.Text(), nullable=False),
        sa.Column("state_before", sa.Text(), nullable=False),
        sa.Column("changes", postgresql.JSONB(), nullable=False),
        sa.Column("merged_by", sa.Text(), nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_by", sa.Text(), nullable=True),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("left", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("kept_version_id <> dropped_version_id", name=op.f("ck_merges_two_versions")),
        sa.CheckConstraint("(undone_at IS NULL) = (undone_by IS NULL)", name=op.f("ck_merges_undo_is_signed")),
        sa.ForeignKeyConstraint(["kept_version_id"], ["versions.id"], name=op.f("fk_merges_kept_version_id")),
        sa.ForeignKeyConstraint(["dropped_version_id"], ["versions.id"], name=op.f("fk_merges_dropped_version_id")),
        sa.ForeignKeyConstraint(["kept_asset_id"], ["assets.id"], name=op.f("fk_merges_kept_asset_id")),
        sa.ForeignKeyConstraint(["dropped_asset_id"], ["assets.id"], name=op.f("fk_merges_dropped_asset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merges")),
    )
    op.create_index(op.f("ix_merges_kept_version_id"), "merges", ["kept_version_id"])
    op.create_index("ix_merges_merged_at", "merges", ["merged_at"])
    op.create_index(
        "uq_merges_dropped",
        "merges",
        ["dropped_version_id"],
        unique=True,
        postgresql_where=sa.text("undone_at IS NULL"),
    )
    op.execute(MERGE_RULES)
    op.execute("CREATE TRIGGER merges_rules BEFORE UPDATE ON merges FOR EACH ROW EXECUTE FUNCTION dam_check_merge()")
    op.execute(
        "CREATE TRIGGER merges_no_delete BEFORE DELETE ON merges FOR EACH ROW EXECUTE FUNCTION dam_refuse_delete()"
    )
    op.execute(
        "CREATE TRIGGER merges_no_truncate BEFORE TRUNCATE ON merges "
        "FOR EACH STATEMENT EXECUTE FUNCTION dam_refuse_delete()"
    )
    op.add_column("versions", sa.Column("merged_into_id", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_versions_merged_into_id"), "versions", "versions", ["merged_into_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_versions_merged_is_archived"),
        "versions",
        "merged_into_id IS NULL OR state IN ('archived', 'destroyed')",
    )
    op.create_check_constraint(op.f("ck_versions_merged_into_another"), "versions", "merged_into_id <> id")
    op.create_index(
        "ix_versions_merged_into_id",
        "versions",
        ["merged_into_id"],
        postgresql_where=sa.text("merged_into_id IS NOT NULL"),
    )
    op.execute(VERSION_RULES.format(undo=UNDO))
    op.add_column("near_duplicates", sa.Column("answer", sa.Text(), nullable=True))
    op.add_column("near_duplicates", sa.Column("answered_by", sa.Text(), nullable=True))
    op.add_column("near_duplicates", sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_near_duplicates_answer"), "near_duplicates", "answer IN ('different', 'both')")
    op.create_check_constraint(
        op.f("ck_near_duplicates_answer_is_signed"),
        "near_duplicates",
        "(answer IS NULL) = (answered_by IS NULL) AND (answer IS NULL) = (answered_at IS NULL)",
    )


def downgrade() -> None:
    """Forget merges; what was merged stays archived."""
    for constraint in ("answer_is_signed", "answer"):
        op.drop_constraint(op.f(f"ck_near_duplicates_{constraint}"), "near_duplicates", type_="check")
    for column in ("answered_at", "answered_by", "answer"):
        op.drop_column("near_duplicates", column)
    op.execute(VERSION_RULES.format(undo=""))
    op.drop_index("ix_versions_merged_into_id", table_name="versions")
    for constraint in ("merged_into_another", "merged_is_archived"):
        op.drop_constraint(op.f(f"ck_versions_{constraint}"), "versions", type_="check")
    op.drop_column("versions", "merged_into_id")
    op.drop_table("merges")
    op.execute("DROP FUNCTION dam_check_merge()")
