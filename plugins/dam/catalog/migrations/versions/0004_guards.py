"""Guards: how a version begins, what is never deleted, what a package froze, and who signed a destruction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NEVER_DELETED = ("versions", "holds")
APPEND_ONLY = ("destruction_lists", "destruction_signatures")

FIRST_STATE = """
CREATE FUNCTION dam_check_new_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> 'received' THEN
        RAISE EXCEPTION 'version % can''t begin as %: a version begins as received', NEW.id, NEW.state
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""

REFUSE_DELETE = """
CREATE FUNCTION dam_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$
"""

PACKAGE_RULES = """
CREATE FUNCTION dam_check_package() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.manifest, NEW.manifest_sha256) IS DISTINCT FROM (OLD.manifest, OLD.manifest_sha256) THEN
        RAISE EXCEPTION 'package % is frozen: its manifest never changes', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    """Add the tables of destruction lists and their signatures, and set the triggers."""
    op.create_table(
        "destruction_lists",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("today", sa.Date(), nullable=False),
        sa.Column("due", postgresql.JSONB(), nullable=False),
        sa.Column("held", postgresql.JSONB(), nullable=False),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_destruction_lists")),
        sa.UniqueConstraint("run", name=op.f("uq_destruction_lists_run")),
    )
    op.create_table(
        "destruction_signatures",
        sa.Column("list_id", sa.Text(), nullable=False),
        sa.Column("list_sha256", sa.String(length=64), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["list_id"], ["destruction_lists.id"], name=op.f("fk_destruction_signatures_list_id")),
        sa.PrimaryKeyConstraint("list_id", name=op.f("pk_destruction_signatures")),
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION dam_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dam_refuse_change()"
        )
    op.execute(FIRST_STATE)
    op.execute(
        "CREATE TRIGGER versions_begin BEFORE INSERT ON versions FOR EACH ROW EXECUTE FUNCTION dam_check_new_version()"
    )
    op.execute(REFUSE_DELETE)
    for table in NEVER_DELETED:
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION dam_refuse_delete()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dam_refuse_delete()"
        )
    op.execute(PACKAGE_RULES)
    op.execute(
        "CREATE TRIGGER packages_rules BEFORE UPDATE ON packages FOR EACH ROW EXECUTE FUNCTION dam_check_package()"
    )


def downgrade() -> None:
    """Remove the triggers and the tables."""
    op.execute("DROP TRIGGER packages_rules ON packages")
    op.execute("DROP FUNCTION dam_check_package()")
    for table in NEVER_DELETED:
        op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        op.execute(f"DROP TRIGGER {table}_no_delete ON {table}")
    op.execute("DROP FUNCTION dam_refuse_delete()")
    op.execute("DROP TRIGGER versions_begin ON versions")
    op.execute("DROP FUNCTION dam_check_new_version()")
    for table in reversed(APPEND_ONLY):
        op.drop_table(table)
