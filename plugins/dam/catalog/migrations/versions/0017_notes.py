"""Notes have kinds, threads, audiences and a history, and travel to the next round; changes in a review are told live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

#: Tables whose changes are told, the kind of the event, and the columns of which a change counts.
TOLD = {
    "annotations": ("annotation", ("body", "target", "kind", "resolved_at", "resolution", "withdrawn_at")),
    "decisions": ("decision", ()),
    "seats": ("seat", ()),
    "packages": ("package", ()),
    "package_versions": ("package", ()),
}

# Never with content: who hears it asks for what they may read. Of equal notifications of a transaction, PostgreSQL
# sends one. The channel has one name in every database, and is heard in its own database only.
TELL = """
CREATE FUNCTION dam_tell_review() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed record;
    told jsonb;
BEGIN
    IF TG_OP = 'DELETE' THEN changed := OLD; ELSE changed := NEW; END IF;
    IF TG_TABLE_NAME = 'packages' THEN
        told := jsonb_build_object('package_id', changed.id, 'id', changed.id);
        IF TG_OP = 'INSERT' AND changed.follows_id IS NOT NULL THEN
            PERFORM pg_notify('dam_review', jsonb_build_object('package_id', changed.follows_id, 'id', changed.id, 'kind', 'package')::text);
        END IF;
    ELSIF TG_TABLE_NAME = 'package_versions' THEN
        told := jsonb_build_object('package_id', changed.package_id, 'id', changed.package_id);
    ELSE
        told := jsonb_build_object('package_id', changed.package_id, 'id', changed.id);
    END IF;
    IF TG_TABLE_NAME = 'annotations' THEN
        told := told || jsonb_build_object('audience', changed.audience, 'author', changed.author);
    END IF;
    PERFORM pg_notify('dam_review', (told || jsonb_build_object('kind', TG_ARGV[0]))::text);
    RETURN NULL;
END $$
"""

# A target was stored as it came in: what is a plain box in percent keeps its place, any other is kept as history.
OLD_TARGETS = r"""
UPDATE annotations AS a
SET former = jsonb_build_array(jsonb_build_object('body', a.body, 'target', a.target, 'until', now())),
    target = CASE WHEN a.target #>> '{selector,value}' ~ '^xywh=percent:(\d{1,2}(\.\d{1,3})?,){3}\d{1,2}(\.\d{1,3})?$' THEN
        jsonb_build_object('source', 'urn:sha256:' || v.sha256, 'selector', jsonb_build_object(
            'type', 'FragmentSelector', 'conformsTo', 'http://www.w3.org/TR/media-frags/',
            'value', a.target #>> '{selector,value}'))
    END
FROM versions AS v WHERE v.id = a.version_id AND a.target IS NOT NULL
"""


def upgrade() -> None:
    """Add the columns, carry over what is there, add who is present, and set the triggers."""
    op.add_column("annotations", sa.Column("role", sa.Text(), nullable=False, server_default=""))
    op.add_column("annotations", sa.Column("kind", sa.Text(), nullable=False, server_default="note"))
    op.execute("UPDATE annotations SET kind = CASE WHEN must_fix THEN 'must_fix' ELSE 'suggestion' END")
    op.drop_column("annotations", "must_fix")
    for name in ("audience", "reply_to_id", "origin_id", "resolution"):
        op.add_column("annotations", sa.Column(name, sa.Text(), nullable=True))
    for name in ("withdrawn_at", "edited_at"):
        op.add_column("annotations", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    for name in ("mentions", "to_mail"):
        op.add_column("annotations", sa.Column(name, sa.ARRAY(sa.String()), nullable=False, server_default="{}"))
    op.add_column("annotations", sa.Column("former", postgresql.JSONB(), nullable=False, server_default="[]"))
    op.execute("UPDATE annotations SET target = NULL WHERE target = 'null'")
    op.execute(OLD_TARGETS)
    for name in ("role", "kind", "mentions", "to_mail", "former"):
        op.alter_column("annotations", name, server_default=None)
    for name in ("reply_to_id", "origin_id"):
        op.create_foreign_key(op.f(f"fk_annotations_{name}"), "annotations", "annotations", [name], ["id"])
    op.create_check_constraint(op.f("ck_annotations_kind"), "annotations", "kind IN ('must_fix', 'suggestion', 'note')")
    op.create_check_constraint(
        op.f("ck_annotations_must_fix_is_for_all"), "annotations", "audience IS NULL OR kind <> 'must_fix'"
    )
    op.create_check_constraint(
        op.f("ck_annotations_resolved_by_somebody"), "annotations", "(resolved_at IS NULL) = (resolved_by IS NULL)"
    )
    op.create_check_constraint(
        op.f("ck_annotations_reply_has_no_place"),
        "annotations",
        "reply_to_id IS NULL OR (kind = 'note' AND target IS NULL)",
    )
    op.create_index(
        "uq_annotations_origin",
        "annotations",
        ["package_id", "version_id", "origin_id"],
        unique=True,
        postgresql_where=sa.text("origin_id IS NOT NULL"),
    )
    for name in ("reply_to_id", "origin_id"):
        op.create_index(op.f(f"ix_annotations_{name}"), "annotations", [name])
    op.create_index("ix_annotations_to_mail", "annotations", ["id"], postgresql_where=sa.text("to_mail <> '{}'"))
    op.create_table(
        "presences",
        sa.Column("package_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_presences_package_id")),
        sa.PrimaryKeyConstraint("package_id", "person", "process", name=op.f("pk_presences")),
        prefixes=["UNLOGGED"],
    )
    op.execute(TELL)
    for table, (kind, columns) in TOLD.items():
        of = f" OF {', '.join(columns)}" if columns else ""
        op.execute(
            f"CREATE TRIGGER {table}_told AFTER INSERT OR DELETE OR UPDATE{of} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION dam_tell_review('{kind}')"
        )


def downgrade() -> None:
    """Take it back; what a note has beyond text, target and whether it must be fixed is lost."""
    for table in TOLD:
        op.execute(f"DROP TRIGGER {table}_told ON {table}")
    op.execute("DROP FUNCTION dam_tell_review()")
    op.drop_table("presences")
    op.drop_index("ix_annotations_to_mail", table_name="annotations")
    for name in ("reply_to_id", "origin_id"):
        op.drop_index(op.f(f"ix_annotations_{name}"), table_name="annotations")
    op.drop_index("uq_annotations_origin", table_name="annotations")
    for name in ("reply_has_no_place", "resolved_by_somebody", "must_fix_is_for_all", "kind"):
        op.drop_constraint(op.f(f"ck_annotations_{name}"), "annotations")
    for name in ("reply_to_id", "origin_id"):
        op.drop_constraint(op.f(f"fk_annotations_{name}"), "annotations")
    op.execute("DELETE FROM annotations WHERE withdrawn_at IS NOT NULL OR audience IS NOT NULL")
    op.add_column("annotations", sa.Column("must_fix", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE annotations SET must_fix = kind = 'must_fix'")
    op.alter_column("annotations", "must_fix", server_default=None)
    for name in (
        "role", "kind", "audience", "reply_to_id", "origin_id", "resolution", "withdrawn_at", "edited_at", "mentions",
        "to_mail", "former",
    ):  # fmt: skip
        op.drop_column("annotations", name)
