"""Remarks on a version, anchored by a W3C Web Annotation target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dam import audit
from dam.catalog.models import Annotation, PackageVersion, utcnow
from dam.errors import BadInput, NotFound

if TYPE_CHECKING:
    from dam.services import Services


def add(
    services: Services,
    *,
    package_id: str,
    version_id: str,
    author: str,
    body: str,
    target: dict[str, Any] | None = None,
    must_fix: bool = False,
) -> str:
    """Add a remark and return its id.

    :param body: plain text. :param target: W3C Web Annotation target; None means the whole version.
    :raises BadInput: the text is empty, or the version is not in the package.
    """
    if not body.strip():
        raise BadInput("the remark is empty", where="body", remedy="Say what you see.")
    with services.session() as session:
        if session.get(PackageVersion, (package_id, version_id)) is None:
            raise BadInput("is not in this package", where=f"version {version_id}")
        made = Annotation(
            package_id=package_id, version_id=version_id, author=author, body=body, target=target, must_fix=must_fix
        )
        session.add(made)
        session.flush()
        audit.record(
            session,
            actor=author,
            action="annotation.added",
            subject_id=package_id,
            data={"annotation_id": made.id, "version_id": version_id, "must_fix": must_fix},
        )
        return made.id


def resolve(services: Services, *, annotation_id: str, person: str) -> None:
    """Mark a remark as answered; one that is answered already is left as it is."""
    with services.session() as session:
        found = session.get(Annotation, annotation_id, with_for_update=True)
        if found is None:
            raise NotFound("there is no such remark", where=annotation_id)
        if found.resolved_at is None:
            found.resolved_at, found.resolved_by = utcnow(), person
            audit.record(
                session,
                actor=person,
                action="annotation.resolved",
                subject_id=found.package_id,
                data={"annotation_id": annotation_id},
            )


def of_package(services: Services, *, package_id: str) -> list[dict[str, Any]]:
    """Return a package's remarks, oldest first."""
    with services.session() as session:
        return [
            {
                "annotation_id": row.id,
                "version_id": row.version_id,
                "author": row.author,
                "body": row.body,
                "target": row.target,
                "must_fix": row.must_fix,
                "resolved_by": row.resolved_by,
                "created_at": row.created_at.isoformat(),
            }
            for row in session.scalars(
                select(Annotation).where(Annotation.package_id == package_id).order_by(Annotation.id)
            )
        ]
