"""Seats of several signatures, in stages, with conditions; signatures taken back; deputies; one open round an asset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

APPEND_ONLY = ("withdrawals", "fulfilments", "delegations")

#: Who may sign, and how often. The library says the same in plain words, before; this holds it against races.
DECISION_RULES = """
CREATE FUNCTION dam_check_decision() RETURNS trigger LANGUAGE plpgsql AS $$
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
        WHEN EXISTS (
            SELECT 1 FROM package_versions e JOIN versions v ON v.id = e.version_id JOIN batches b ON b.id = v.batch_id
            WHERE e.package_id = package.id AND NEW.person IN (v.made_by, b.sent_by)
        ) OR NEW.person = (SELECT sent_by FROM batches WHERE id = package.batch_id)
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

WITHDRAWAL_RULES = """
CREATE FUNCTION dam_check_withdrawal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decision decisions%ROWTYPE;
    package packages%ROWTYPE;
    seat seats%ROWTYPE;
BEGIN
    SELECT * INTO decision FROM decisions WHERE id = NEW.decision_id;
    SELECT * INTO package FROM packages WHERE id = decision.package_id FOR UPDATE;
    SELECT * INTO seat FROM seats WHERE id = decision.seat_id;
    IF NEW.person <> decision.person OR package.status <> 'in_review' OR EXISTS (
        SELECT 1 FROM seats o WHERE o.package_id = package.id AND o.stage > seat.stage AND o.opens_at IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'signature % can''t be taken back: it is another''s, or its seat is closed', decision.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""

#: The asset's row is locked, so that of two packages frozen at once the second sees the first.
ONE_ROUND = """
CREATE FUNCTION dam_check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asset text := (SELECT asset_id FROM versions WHERE id = NEW.version_id);
    other text;
BEGIN
    PERFORM 1 FROM assets WHERE id = asset FOR NO KEY UPDATE;
    SELECT p.id INTO other
    FROM versions v JOIN package_versions e ON e.version_id = v.id JOIN packages p ON p.id = e.package_id
    WHERE v.asset_id = asset AND p.status = 'in_review' AND p.id <> NEW.package_id
    LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'asset % is in the open review of package % already', asset, other
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
"""

#: Without its withdrawal a signature that was taken back would count again.
NONE_TAKEN_BACK = """
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM withdrawals) THEN
        RAISE EXCEPTION 'signatures were taken back, which the scheme before does not know'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
END $$
"""

_GUARDS = (
    ("decisions_rules", "decisions", "dam_check_decision"),
    ("withdrawals_rules", "withdrawals", "dam_check_withdrawal"),
    ("package_versions_rules", "package_versions", "dam_check_entry"),
)


def upgrade() -> None:
    """Add the columns, the tables and the triggers."""
    _packages()
    _seats()
    _decisions()
    _people()
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION dam_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION dam_refuse_change()"
        )
    for body in (DECISION_RULES, WITHDRAWAL_RULES, ONE_ROUND):
        op.execute(body)
    for name, table, function in _GUARDS:
        op.execute(f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()")


def downgrade() -> None:
    """Take it away; fails, and changes nothing, where a seat or a signature can't be told in the scheme before."""
    op.execute(NONE_TAKEN_BACK)
    for name, table, function in _GUARDS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
        op.execute(f"DROP FUNCTION {function}()")
    for table in ("absences", "delegations", "fulfilments", "withdrawals"):
        op.drop_table(table)
    op.drop_index(op.f("ix_decisions_package_id"), table_name="decisions")
    op.drop_index(op.f("ix_decisions_seat_id"), table_name="decisions")
    op.drop_constraint(op.f("ck_decisions_deputy_is_another"), "decisions", type_="check")
    for column in ("address", "must_fixes", "conditions", "on_behalf_of"):
        op.drop_column("decisions", column)
    op.create_unique_constraint(op.f("uq_decisions_seat_id"), "decisions", ["seat_id"])
    op.create_unique_constraint(op.f("uq_decisions_package_id_person"), "decisions", ["package_id", "person"])
    for name in ("status", "counts", "reason_why_not", "opened"):
        op.drop_constraint(op.f(f"ck_seats_{name}"), "seats", type_="check")
    op.create_check_constraint(op.f("ck_seats_status"), "seats", "status IN ('open', 'signed', 'void', 'expired')")
    for column in ("opens_at", "due", "reason", "needed", "stage"):
        op.drop_column("seats", column)
    op.drop_constraint(op.f("ck_packages_release_is_signed"), "packages", type_="check")
    op.drop_constraint(op.f("ck_packages_rest"), "packages", type_="check")
    for column in ("released_at", "released_by", "rest"):
        op.drop_column("packages", column)


def _packages() -> None:
    op.add_column("packages", sa.Column("rest", sa.Text(), nullable=False, server_default="goes_on"))
    op.alter_column("packages", "rest", server_default=None)
    op.add_column("packages", sa.Column("released_by", sa.Text(), nullable=True))
    op.add_column("packages", sa.Column("released_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_packages_rest"), "packages", "rest IN ('goes_on', 'waits')")
    op.create_check_constraint(
        op.f("ck_packages_release_is_signed"), "packages", "(released_by IS NULL) = (released_at IS NULL)"
    )


def _seats() -> None:
    op.add_column("seats", sa.Column("stage", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("seats", sa.Column("needed", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("seats", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("seats", sa.Column("due", postgresql.JSONB(), nullable=False, server_default="{}"))
    op.add_column("seats", sa.Column("opens_at", sa.DateTime(timezone=True), nullable=True))
    for column in ("stage", "needed", "due"):
        op.alter_column("seats", column, server_default=None)
    op.execute("UPDATE seats SET opens_at = packages.frozen_at FROM packages WHERE packages.id = seats.package_id")
    op.drop_constraint(op.f("ck_seats_status"), "seats", type_="check")
    for name, rule in (
        ("status", "status IN ('waiting', 'open', 'signed', 'expired', 'void', 'not_needed')"),
        ("counts", "stage >= 1 AND needed >= 1"),
        ("reason_why_not", "status <> 'not_needed' OR reason IS NOT NULL"),
        ("opened", "status NOT IN ('open', 'signed', 'expired') OR opens_at IS NOT NULL"),
    ):
        op.create_check_constraint(op.f(f"ck_seats_{name}"), "seats", rule)


def _decisions() -> None:
    op.add_column("decisions", sa.Column("on_behalf_of", sa.Text(), nullable=True))
    op.add_column("decisions", sa.Column("conditions", sa.Text(), nullable=False, server_default=""))
    op.add_column("decisions", sa.Column("must_fixes", postgresql.JSONB(), nullable=False, server_default="[]"))
    op.add_column("decisions", sa.Column("address", sa.Text(), nullable=True))
    for column in ("conditions", "must_fixes"):
        op.alter_column("decisions", column, server_default=None)
    op.drop_constraint(op.f("uq_decisions_seat_id"), "decisions", type_="unique")
    op.drop_constraint(op.f("uq_decisions_package_id_person"), "decisions", type_="unique")
    op.create_check_constraint(op.f("ck_decisions_deputy_is_another"), "decisions", "on_behalf_of <> person")
    op.create_index(op.f("ix_decisions_seat_id"), "decisions", ["seat_id"])
    op.create_index(op.f("ix_decisions_package_id"), "decisions", ["package_id"])
    for table, note in (("withdrawals", "via"), ("fulfilments", "note")):
        at = "withdrawn_at" if table == "withdrawals" else "met_at"
        op.create_table(
            table,
            sa.Column("decision_id", sa.Text(), nullable=False),
            sa.Column("person", sa.Text(), nullable=False),
            sa.Column(note, sa.Text(), nullable=False),
            sa.Column(at, sa.DateTime(timezone=True), nullable=False),
            sa.ForeignKeyConstraint(["decision_id"], ["decisions.id"], name=op.f(f"fk_{table}_decision_id")),
            sa.PrimaryKeyConstraint("decision_id", name=op.f(f"pk_{table}")),
        )


def _people() -> None:
    op.create_table(
        "delegations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seat_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("deputy", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("delegated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("person <> deputy", name=op.f("ck_delegations_deputy_is_another")),
        sa.ForeignKeyConstraint(["seat_id"], ["seats.id"], name=op.f("fk_delegations_seat_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delegations")),
        sa.UniqueConstraint("seat_id", "person", "deputy", name=op.f("uq_delegations_seat_id_person_deputy")),
    )
    op.create_table(
        "absences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("deputy", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entered_by", sa.Text(), nullable=False),
        sa.Column("entered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_absences_in_order")),
        sa.CheckConstraint("deputy <> person", name=op.f("ck_absences_deputy_is_another")),
        sa.CheckConstraint("(ended_by IS NULL) = (ended_at IS NULL)", name=op.f("ck_absences_end_is_signed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_absences")),
    )
    op.create_index("ix_absences_person", "absences", ["person", "ends_at"])
    op.create_index("ix_absences_deputy", "absences", ["deputy", "ends_at"])
