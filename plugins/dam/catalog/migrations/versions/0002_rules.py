"""Rules over several rows: the life of a version, what is append-only, what never changes, holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: A copy on purpose: a migration says what it did, whatever the library says later. A test compares
#: the table with :data:`dam.catalog.lifecycle.ALLOWED`.
TRANSITIONS = {
    "received": ["quarantined", "ingested"],
    "quarantined": ["ingested", "destroyed"],
    "ingested": ["in_review", "archived"],
    "in_review": ["approved", "changes_requested", "rejected", "ingested"],
    "approved": ["live", "in_review", "archived"],
    "changes_requested": ["archived"],
    "rejected": ["archived"],
    "live": ["withdrawn"],
    "withdrawn": ["live", "in_review", "archived"],
    "archived": ["restored", "destroyed"],
    "restored": ["live", "in_review", "archived"],
}
APPEND_ONLY = ("audit_events", "decisions", "archive_confirmations", "destruction_certificates")

REFUSE = """
CREATE FUNCTION dam_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$
"""

VERSION_RULES = """
CREATE FUNCTION dam_check_version() RETURNS trigger LANGUAGE plpgsql AS $$
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
        ) THEN
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

BRIEF_RULES = """
CREATE FUNCTION dam_check_brief() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'signed' THEN
        RAISE EXCEPTION 'brief % is signed: it never changes', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    """Fill the table of allowed changes and set the triggers."""
    op.bulk_insert(
        sa.table("lifecycle_transitions", sa.column("from_state"), sa.column("to_state")),
        [{"from_state": before, "to_state": to} for before, after in TRANSITIONS.items() for to in after],
    )
    op.execute(REFUSE)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION dam_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dam_refuse_change()"
        )
    op.execute(VERSION_RULES)
    op.execute(
        "CREATE TRIGGER versions_rules BEFORE UPDATE ON versions FOR EACH ROW EXECUTE FUNCTION dam_check_version()"
    )
    op.execute(BRIEF_RULES)
    op.execute(
        "CREATE TRIGGER briefs_rules BEFORE UPDATE OR DELETE ON briefs FOR EACH ROW EXECUTE FUNCTION dam_check_brief()"
    )


def downgrade() -> None:
    """Remove the triggers and the table's rows."""
    op.execute("DROP TRIGGER briefs_rules ON briefs")
    op.execute("DROP FUNCTION dam_check_brief()")
    op.execute("DROP TRIGGER versions_rules ON versions")
    op.execute("DROP FUNCTION dam_check_version()")
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION dam_refuse_change()")
    op.execute("DELETE FROM lifecycle_transitions")
