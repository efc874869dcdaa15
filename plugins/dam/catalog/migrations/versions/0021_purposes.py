"""What a package is for: its versions' release, a brief, or a batch's metadata; each has rounds of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

#: Who may sign, and how often. Who completes a batch's metadata may have sent its files: that approves no work.
DECISION_RULES = """
CREATE OR REPLACE FUNCTION dam_check_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    package packages%ROWTYPE;
    seat seats%ROWTYPE;
    holder text := coalesce(NEW.on_behalf_of, NEW.person);
    fault text;
BEGIN
    SELECT * INTO package FROM packages WHERE id = NEW.package_id FOR UPDATE;
    SELECT * INTO seat FROM seats WHERE id = NEW.seat_id;
    fault := CASE
        WHEN seat.package_id <> package.id OR seat.role <> NEW.role THEN 'it is for another seat'
        WHEN package.status <> 'in_review' THEN 'the review is over'
        WHEN seat.status <> 'open' THEN 'the seat is ' || seat.status
        WHEN NEW.manifest_sha256 <> package.manifest_sha256 THEN 'it is over another hash'
        WHEN NOT holder = ANY (seat.eligible) THEN 'the seat is not for ' || holder
        WHEN {release}(EXISTS (
            SELECT 1 FROM package_versions e JOIN versions v ON v.id = e.version_id JOIN batches b ON b.id = v.batch_id
            WHERE e.package_id = package.id AND NEW.person IN (v.made_by, b.sent_by)
        ) OR NEW.person = (SELECT sent_by FROM batches WHERE id = package.batch_id))
            THEN NEW.person || ' made or sent a version of the package'
        WHEN EXISTS (
            SELECT 1 FROM decisions d
            WHERE d.package_id = package.id AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision_id = d.id)
              AND (d.person IN (NEW.person, holder) OR d.on_behalf_of IN (NEW.person, holder))
        ) THEN 'nobody signs a package twice, for himself or for another'
        WHEN (
            SELECT count(*) FROM decisions d
            WHERE d.seat_id = seat.id AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision_id = d.id)
        ) >= seat.needed THEN 'the seat has all its signatures'
        WHEN NEW.on_behalf_of IS NOT NULL AND EXISTS (
            SELECT 1 FROM seats o WHERE o.package_id = package.id AND o.status <> 'not_needed'
              AND NEW.person = ANY (o.eligible)
        ) THEN NEW.person || ' has a seat of the package and is nobody''s deputy'
        WHEN NEW.on_behalf_of IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM delegations g WHERE g.seat_id = seat.id AND g.person = holder AND g.deputy = NEW.person
        ) AND NOT EXISTS (
            SELECT 1 FROM absences a WHERE a.person = holder AND a.deputy = NEW.person AND a.starts_at <= NEW.decided_at
              AND NEW.decided_at < least(a.ends_at, coalesce(a.ended_at, a.ends_at))
        ) THEN NEW.person || ' is no deputy of ' || holder
    END;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'seat % is not signed: %', NEW.seat_id, fault USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""

#: One asset is in one open round of each purpose. Its row is locked, so that of two packages frozen at once the
#: second sees the first.
ONE_ROUND = """
CREATE OR REPLACE FUNCTION dam_check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asset text := (SELECT asset_id FROM versions WHERE id = NEW.version_id);
    other text;
BEGIN
    PERFORM 1 FROM assets WHERE id = asset FOR NO KEY UPDATE;
    SELECT p.id INTO other
    FROM versions v JOIN package_versions e ON e.version_id = v.id JOIN packages p ON p.id = e.package_id
    WHERE v.asset_id = asset AND p.status = 'in_review' AND p.id <> NEW.package_id{same}
    LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'asset % is in the open review of package % already', asset, other
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""
SAME_PURPOSE = "\n      AND p.purpose = (SELECT purpose FROM packages WHERE id = NEW.package_id)"


def upgrade() -> None:
    """Add the purpose; what there is was frozen for release."""
    op.add_column("packages", sa.Column("purpose", sa.Text(), nullable=False, server_default="release"))
    op.alter_column("packages", "purpose", server_default=None)
    op.add_column("packages", sa.Column("brief_id", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_packages_brief_id_briefs"), "packages", "briefs", ["brief_id"], ["id"])
    op.create_index(op.f("ix_packages_brief_id"), "packages", ["brief_id"])
    op.create_check_constraint(op.f("ck_packages_purpose"), "packages", "purpose IN ('release', 'brief', 'metadata')")
    op.create_check_constraint(
        op.f("ck_packages_brief_is_named"), "packages", "(purpose = 'brief') = (brief_id IS NOT NULL)"
    )
    op.drop_constraint(op.f("uq_packages_batch_id_round"), "packages", type_="unique")
    op.create_unique_constraint(
        op.f("uq_packages_batch_id_purpose_round"), "packages", ["batch_id", "purpose", "round"]
    )
    op.drop_constraint(op.f("ck_batches_source"), "batches", type_="check")
    op.create_check_constraint(
        op.f("ck_batches_source"), "batches", "source IN ('inbox', 'upload', 'cli', 'api', 'brief')"
    )
    op.execute(DECISION_RULES.format(release="package.purpose <> 'metadata' AND "))
    op.execute(ONE_ROUND.format(same=SAME_PURPOSE))


def downgrade() -> None:
    """Take it away; fails, and changes nothing, where a package was not frozen for release."""
    op.execute(
        """
        DO $$ BEGIN
            IF EXISTS (SELECT 1 FROM packages WHERE purpose <> 'release') THEN
                RAISE EXCEPTION 'briefs or metadata were signed as packages, which the scheme before does not know'
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
        END $$
        """
    )
    op.execute("UPDATE batches SET source = 'api' WHERE source = 'brief'")
    op.drop_constraint(op.f("ck_batches_source"), "batches", type_="check")
    op.create_check_constraint(op.f("ck_batches_source"), "batches", "source IN ('inbox', 'upload', 'cli', 'api')")
    op.execute(DECISION_RULES.format(release=""))
    op.execute(ONE_ROUND.format(same=""))
    op.drop_constraint(op.f("uq_packages_batch_id_purpose_round"), "packages", type_="unique")
    op.create_unique_constraint(op.f("uq_packages_batch_id_round"), "packages", ["batch_id", "round"])
    op.drop_constraint(op.f("ck_packages_brief_is_named"), "packages", type_="check")
    op.drop_constraint(op.f("ck_packages_purpose"), "packages", type_="check")
    op.drop_index(op.f("ix_packages_brief_id"), table_name="packages")
    op.drop_constraint(op.f("fk_packages_brief_id_briefs"), "packages", type_="foreignkey")
    op.drop_column("packages", "brief_id")
    op.drop_column("packages", "purpose")
