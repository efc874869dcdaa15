"""How notes travel to the next round: the open ones to be ticked off there, the answered ones to be seen.

A note on a later version is a row of its own whose ``origin_id`` is the first row of its line, so that each round
keeps what was said and answered in it. The database holds a line once in a package and version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from dam import audit
from dam.catalog.models import Annotation, Package, PackageVersion, Version, new_id
from dam.errors import NotFound
from dam.review import targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from dam.services import Services


def carry(session: Session, *, package: Package, run: str | None = None) -> list[str]:
    """Bring the notes of the last reviewed versions into a package, in the transaction of ``session``.

    For each of its versions that is the last earlier round of the same asset that has notes. To a later version come
    its must-fixes and suggestions, with their replies: what is open is open, what was answered there is shown as
    answered. To the same version comes everything. Shapes keep their place in percent. Called again, it brings
    what is new only.

    :returns: the ids of the notes that were made.
    """
    session.get_one(Package, package.id, with_for_update={"of": Package})  # one at a time
    before = _last_reviewed(session, package)
    if not before:
        return []
    known = {
        (row.version_id, row.origin_id): row.id
        for row in session.scalars(
            select(Annotation).where(Annotation.package_id == package.id, Annotation.origin_id.is_not(None))
        )
    }
    sources = dict(session.execute(select(Version.id, Version.sha256).where(Version.id.in_(before))).all())
    notes: dict[tuple[str, str], list[Annotation]] = {}
    for row in session.scalars(
        select(Annotation)
        .where(
            tuple_(Annotation.package_id, Annotation.version_id).in_(before.values()), Annotation.withdrawn_at.is_(None)
        )
        .order_by(Annotation.id)
    ):
        notes.setdefault((row.package_id, row.version_id), []).append(row)
    made: list[Annotation] = []
    for version_id, place in before.items():
        same = place[1] == version_id
        since = None if same else session.get_one(Package, place[0]).frozen_at
        going = [row for row in notes.get(place, []) if row.reply_to_id is None and _goes_on(row, since)]
        firsts = {row.id for row in going}
        going += [row for row in notes.get(place, []) if row.reply_to_id in firsts]
        for row in going:
            line = (version_id, row.origin_id or row.id)
            if line not in known:
                known[line] = new_id("ann")
                made.append(_copy(row, package.id, version_id, sources[version_id], known))
    for first in (True, False):  # threads before their replies
        session.add_all(copy for copy in made if (copy.reply_to_id is None) is first)
        session.flush()
    if made:
        audit.record(
            session,
            actor="airflow",
            action="annotations.carried",
            subject_id=package.id,
            data={"notes": {copy.id: copy.origin_id for copy in made}},
            run=run,
        )
    return [copy.id for copy in made]


def open_must_fixes(session: Session, *, package_id: str, version_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what must be fixed in versions of a package and is open, as a decision freezes it.

    :returns: rows of ``{"annotation_id", "version_id", "author", "role", "body", "target", "origin_id"}``, oldest
        first. None of them is private: what must be fixed never is.
    """
    rows = session.scalars(
        select(Annotation)
        .where(
            Annotation.package_id == package_id,
            Annotation.version_id.in_(list(version_ids)),
            Annotation.kind == "must_fix",
            Annotation.resolved_at.is_(None),
            Annotation.withdrawn_at.is_(None),
        )
        .order_by(Annotation.created_at, Annotation.id)
    )
    return [
        {
            "annotation_id": row.id,
            "version_id": row.version_id,
            "author": row.author,
            "role": row.role,
            "body": row.body,
            "target": row.target,
            "origin_id": row.origin_id,
        }
        for row in rows
    ]


def answered(services: Services, *, from_version: str, to_version: str) -> list[dict[str, Any]]:
    """Return what had to be fixed in one version, and whether it is answered in another (or, the same, in itself).

    A must-fix is answered when the newest note of its line on the other version is resolved; where the line did not
    reach that version, when it was resolved on its own.

    :returns: rows of ``{"annotation_id", "carried_id", "author", "body", "target", "status", "resolved_by",
        "resolved_at", "resolution"}``, oldest first; ``status`` is ``open`` or ``resolved``, ``carried_id`` the note
        on the other version or None.
    :raises NotFound: there is no such version.
    """
    with services.session() as session:
        for version_id in (from_version, to_version):
            if session.get(Version, version_id) is None:
                raise NotFound("there is no such version", where=version_id)
        asked = _newest(session, from_version)
        there = _newest(session, to_version)
        rows = []
        for line, row in asked.items():
            now = there.get(line, row)
            rows.append(
                {
                    "annotation_id": row.id,
                    "carried_id": now.id if now.version_id == to_version and now is not row else None,
                    "author": row.author,
                    "body": row.body,
                    "target": row.target,
                    "status": "resolved" if now.resolved_at else "open",
                    "resolved_by": now.resolved_by,
                    "resolved_at": now.resolved_at.isoformat() if now.resolved_at else None,
                    "resolution": now.resolution,
                }
            )
        return rows


# ---------------------------------------------------------------------------------------------------- helpers


def _last_reviewed(session: Session, package: Package) -> dict[str, tuple[str, str]]:
    """Return where notes come from: version of this package → package and version that were reviewed before."""
    earlier, entry = aliased(Version), aliased(PackageVersion)
    noted = exists().where(
        Annotation.package_id == entry.package_id,
        Annotation.version_id == entry.version_id,
        Annotation.withdrawn_at.is_(None),
    )
    rows = session.execute(
        select(Version.id, entry.package_id, entry.version_id)
        .ext(distinct_on(Version.id))
        .join(PackageVersion, PackageVersion.version_id == Version.id)
        .join(earlier, and_(earlier.asset_id == Version.asset_id, earlier.number <= Version.number))
        .join(entry, and_(entry.version_id == earlier.id, entry.package_id != package.id))
        .join(Package, Package.id == entry.package_id)
        .where(PackageVersion.package_id == package.id, Package.frozen_at <= package.frozen_at, noted)
        .order_by(Version.id, Package.frozen_at.desc(), Package.id.desc(), earlier.number.desc())
    )
    return {here: (package_id, version_id) for here, package_id, version_id in rows}


def _goes_on(row: Annotation, since: Any) -> bool:
    """Return whether a thread goes on to the next version.

    :param since: when its round began, before which nothing was answered in it; None where the version is the same.
    """
    if since is None:
        return True
    if row.kind == "note":
        return False
    return row.resolved_at is None or row.resolved_at >= since


def _copy(
    row: Annotation, package_id: str, version_id: str, sha256: str, ids: dict[tuple[str, str | None], str]
) -> Annotation:
    """Return a note as it goes on. :param ids: of what has gone on, by version and line."""
    first = row.thread and ids[(version_id, row.thread.origin_id or row.thread.id)]
    target = row.target | {"source": targets.source_of(sha256)} if row.target else None
    return Annotation(
        id=ids[(version_id, row.origin_id or row.id)],
        package_id=package_id,
        version_id=version_id,
        author=row.author,
        role=row.role,
        body=row.body,
        target=target,
        kind=row.kind,
        audience=row.audience,
        reply_to_id=first,
        mentions=row.mentions,
        origin_id=row.origin_id or row.id,
        resolved_by=row.resolved_by,
        resolved_at=row.resolved_at,
        resolution=row.resolution,
        edited_at=row.edited_at,
        created_at=row.created_at,
    )


def _newest(session: Session, version_id: str) -> dict[str, Annotation]:
    """Return the must-fixes of a version by their line, each as its newest round has it, oldest first."""
    rows = session.scalars(
        select(Annotation)
        .join(Package, Package.id == Annotation.package_id)
        .where(
            Annotation.version_id == version_id,
            Annotation.kind == "must_fix",
            Annotation.withdrawn_at.is_(None),
        )
        .order_by(Annotation.created_at, func.coalesce(Annotation.origin_id, Annotation.id), Package.frozen_at)
    )
    return {row.origin_id or row.id: row for row in rows}
