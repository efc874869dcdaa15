"""What a decision and a next round take from the remarks on versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from dam import audit
from dam.catalog.models import Annotation, Version

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Package


def open_must_fixes(session: Session, *, package_id: str, version_ids: list[str]) -> list[dict[str, Any]]:
    """Return the must-fix remarks on versions of a package that are not answered, the oldest first.

    :returns: rows of ``{"annotation_id", "version_id", "author", "body", "target"}``.
    """
    rows = session.scalars(
        select(Annotation)
        .where(Annotation.package_id == package_id, Annotation.version_id.in_(version_ids))
        .where(Annotation.must_fix, Annotation.resolved_at.is_(None))
        .order_by(Annotation.id)
    )
    return [
        {
            "annotation_id": row.id,
            "version_id": row.version_id,
            "author": row.author,
            "body": row.body,
            "target": row.target,
        }
        for row in rows
    ]


def carry(session: Session, *, package: Package, run: str | None = None) -> None:
    """Take the open must-fix remarks on earlier versions along to the versions of a package that answer them."""
    older, newer = aliased(Version), aliased(Version)
    rows = session.execute(
        select(Annotation, newer.id)
        .join(older, older.id == Annotation.version_id)
        .join(newer, (newer.asset_id == older.asset_id) & (newer.number > older.number))
        .where(newer.id.in_([entry.version_id for entry in package.entries]))
        .where(Annotation.must_fix, Annotation.resolved_at.is_(None), Annotation.package_id != package.id)
        .order_by(Annotation.id)
    )
    found = rows.all()
    for remark, version_id in found:
        session.add(
            Annotation(
                package_id=package.id,
                version_id=version_id,
                author=remark.author,
                body=remark.body,
                target=remark.target,
                must_fix=True,
            )
        )
    session.flush()
    if found:
        data = {"notes": [remark.id for remark, _ in found]}
        audit.record(session, actor="airflow", action="annotations.carried", subject_id=package.id, data=data, run=run)
