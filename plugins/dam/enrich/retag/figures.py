"""What a retag run comes to, and a sample of it for a person to look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select

from dam.catalog.models import RetagChange, RetagRun, RetagVerdict, Version
from dam.enrich.retag.turning import packages_of
from dam.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: A person looks at so many versions before a run may be applied, or at all where it changes fewer.
SAMPLE = 20
#: Terms, reasons and protected versions are listed up to so many.
_LISTED = 50


def summary(services: Services, *, run_id: str) -> dict[str, Any]:
    """Return a run's figures.

    :returns: ``{"run_id", "status", "taggers", "since", "made_by", "made_at", "applied_by", "rolled_back_by",
        "looked_at", "versions", "tags": {kind: count}, "outcomes": {outcome: count}, "left_out": {reason: count},
        "terms": [{"term_id", "added", "removed", "changed"}], "judged", "accepted", "at_least", "sample",
        "protected": [{"version_id", "package_id"}], "notes"}``. ``at_least`` is the share of right changes that the
        sample shows with 95 % confidence; ``protected`` are versions in packages under review or approved.
    """
    with services.session() as session:
        found = session.get(RetagRun, run_id)
        if found is None:
            raise NotFound("there is no such retag run", where=run_id)
        kinds, outcomes = _counts(session, run_id, RetagChange.kind), _counts(session, run_id, RetagChange.outcome)
        reasons = _counts(session, run_id, RetagChange.note)
        verdicts = dict(
            session.execute(
                select(RetagVerdict.verdict, func.count())
                .where(RetagVerdict.run_id == run_id)
                .group_by(RetagVerdict.verdict)
            ).all()
        )
        accepted, judged = verdicts.get("accepted", 0), sum(verdicts.values())
        return {
            "run_id": found.id,
            "status": found.status,
            "taggers": list(found.taggers),
            "since": found.since.isoformat() if found.since else None,
            "made_by": found.made_by,
            "made_at": found.made_at.isoformat(),
            "applied_by": found.applied_by,
            "rolled_back_by": found.rolled_back_by,
            "looked_at": found.looked_at,
            "versions": found.changed,
            "tags": {kind: kinds.get(kind, 0) for kind in ("added", "removed", "changed")},
            "outcomes": outcomes,
            "left_out": {reason: count for reason, count in reasons.items() if reason},
            "terms": _terms(session, run_id),
            "judged": judged,
            "accepted": accepted,
            "at_least": round(at_least(accepted, judged), 3) if judged else None,
            "sample": min(SAMPLE, found.changed),
            "protected": _protected(session, run_id),
            "notes": list(found.notes),
        }


def _counts(session: Session, run_id: str, column: Any) -> dict[str, int]:
    rows = session.execute(
        select(column, func.count())
        .where(RetagChange.run_id == run_id)
        .group_by(column)
        .order_by(func.count().desc(), column)
        .limit(_LISTED)
    )
    return {str(value): count for value, count in rows}


def _terms(session: Session, run_id: str) -> list[dict[str, Any]]:
    """Return the terms that change most."""
    kinds = ("added", "removed", "changed")
    rows = session.execute(
        select(RetagChange.term_id, *(func.sum(case((RetagChange.kind == kind, 1), else_=0)) for kind in kinds))
        .where(RetagChange.run_id == run_id)
        .group_by(RetagChange.term_id)
        .order_by(func.count().desc(), RetagChange.term_id)
        .limit(_LISTED)
    )
    return [{"term_id": row[0], **{kind: int(row[at]) for at, kind in enumerate(kinds, start=1)}} for row in rows]


def _protected(session: Session, run_id: str) -> list[dict[str, str]]:
    """Return versions of a run whose tags somebody signs or has signed."""
    mine = select(RetagChange.version_id).where(RetagChange.run_id == run_id).distinct()
    rows = sorted(packages_of(session, mine).items())
    return [{"version_id": version_id, "package_id": package_id} for version_id, package_id in rows[:_LISTED]]


def at_least(right: int, of: int) -> float:
    """Return the lower end of Wilson's 95 % interval for a share of right ones."""
    z = 1.96
    share, slack = right / of, z * z / of
    return (share + slack / 2 - z * math.sqrt(share * (1 - share) / of + slack / (4 * of))) / (1 + slack)


def sample(services: Services, *, run_id: str, count: int = SAMPLE) -> list[dict[str, Any]]:
    """Return versions of a run for a person to look at: drawn by chance, but always the same ones.

    :returns: rows of ``{"version_id", "asset_id", "asset", "number", "filename", "has_thumbnail", "verdict", "person",
        "changes": [{"term_id", "label", "source", "kind", "old", "new", "outcome", "note"}]}``.
    """
    order = func.md5(func.concat(RetagChange.run_id, RetagChange.version_id))
    vocabulary = services.taxonomy.vocabulary
    with services.session() as session:
        drawn = session.scalars(
            select(RetagChange.version_id)
            .where(RetagChange.run_id == run_id)
            .group_by(RetagChange.run_id, RetagChange.version_id)
            .order_by(order)
            .limit(count)
        ).all()
        changes: dict[str, list[dict[str, Any]]] = {}
        for row in session.scalars(
            select(RetagChange)
            .where(RetagChange.run_id == run_id, RetagChange.version_id.in_(drawn))
            .order_by(RetagChange.kind, RetagChange.term_id, RetagChange.source)
        ):
            changes.setdefault(row.version_id, []).append(
                {
                    "term_id": row.term_id,
                    "label": vocabulary.shown(row.term_id),
                    "source": row.source,
                    "kind": row.kind,
                    "old": row.old,
                    "new": row.new,
                    "outcome": row.outcome,
                    "note": row.note,
                }
            )
        verdicts = {
            row.version_id: row for row in session.scalars(select(RetagVerdict).where(RetagVerdict.run_id == run_id))
        }
        found = []
        for version_id in drawn:
            version = session.get_one(Version, version_id)
            said = verdicts.get(version_id)
            found.append(
                {
                    "version_id": version_id,
                    "asset_id": version.asset_id,
                    "asset": version.asset.name if version.asset else None,
                    "number": version.number,
                    "filename": version.filename,
                    "has_thumbnail": any(rendition.recipe == "thumbnail" for rendition in version.renditions),
                    "verdict": said.verdict if said else None,
                    "person": said.person if said else None,
                    "changes": changes[version_id],
                }
            )
        return found


def runs(services: Services) -> list[dict[str, Any]]:
    """Return the newest retag runs: a few of the figures of :func:`summary` each."""
    with services.session() as session:
        return [
            {
                "run_id": row.id,
                "status": row.status,
                "taggers": list(row.taggers),
                "made_by": row.made_by,
                "made_at": row.made_at.isoformat(),
                "looked_at": row.looked_at,
                "versions": row.changed,
            }
            for row in session.scalars(select(RetagRun).order_by(RetagRun.made_at.desc()).limit(100))
        ]
