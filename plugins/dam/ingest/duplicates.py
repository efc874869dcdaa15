"""Pairs that look or sound alike, for the librarian; and where a version's bytes came from, however often they came.

The same bytes never make a second version: their provenance joins the first (:mod:`dam.ingest.gate`). The same
pixels can be merged (:mod:`dam.ingest.merges`). What only looks alike is linked, and a librarian says whether both
are kept or whether they are different things; that answer is remembered.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import aliased

from dam import audit
from dam.catalog.models import (
    Asset,
    Batch,
    BatchFile,
    FileOutcome,
    Merge,
    NearDuplicate,
    Publication,
    UsageFact,
    Version,
    VersionState,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.ingest.media import clock
from dam.ingest.merges import MERGERS
from dam.ingest.near import SAME_SOUND
from dam.renditions.render import ASIDE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

Answer = Literal["different", "both"]
ANSWERS: tuple[Answer, ...] = ("different", "both")
_DESCRIBED = ("title", "description", "alt_text", "creator", "credit_line", "copyright_notice", "language")


def alike(pair: NearDuplicate) -> float:
    """Return how alike two versions are, from 0 to 1, by that in which they are most."""
    seen = None if pair.distance is None else 1 - pair.distance / 64
    return max(share for share in (seen, pair.key_frames, pair.sound) if share is not None)


def how(pair: NearDuplicate, *kinds: str) -> str:
    """Return in words how two versions are alike, e.g. ``same film: 94 % of its key frames, same sound: 97 %``.

    :param kinds: their assets' kinds.
    """
    words = []
    if pair.same_pixels:
        words.append("the same pixels")
    elif pair.distance is not None:
        what = {0: "same picture", 1: "same picture as the film's poster"}.get(kinds.count("video"), "same poster")
        words.append(f"{what}: {pair.distance} of 64 bits differ")
    if pair.key_frames is not None:
        words.append(f"same film: {_percent(pair.key_frames)} of its key frames")
    if pair.sound is not None:
        words.append(f"same sound: {_percent(pair.sound)}" if pair.sound >= SAME_SOUND else "another sound")
    return ", ".join(words)


def _percent(share: float) -> str:
    return f"{floor(share * 100 + 1e-6)} %"  # 100 % is all of it


# ------------------------------------------------------------------------------------------------- pairs


def pairs(services: Services, *, answered: bool = False, limit: int = 25, offset: int = 0) -> dict[str, Any]:
    """Return pairs that look or sound alike: first those with the same pixels, then the most alike, then the newest.

    A pair of which one is merged or destroyed is no pair any more.

    :param answered: those that a librarian answered, instead of those that wait.
    :returns: ``{"total", "pairs"}``; a pair is ``{"version_id", "other_id", "same_pixels", "distance", "alike",
        "how", "answer", "answered_by", "answered_at", "versions", "differs"}``; ``differs`` are rows of
        ``{"field", "values"}``, in the order of ``versions``.
    """
    with services.session() as session:
        query = _open_pairs(answered=answered)
        total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
        found = session.scalars(
            query.order_by(
                NearDuplicate.same_pixels.desc(),
                func.greatest(1 - NearDuplicate.distance / 64.0, NearDuplicate.key_frames, NearDuplicate.sound).desc(),
                NearDuplicate.found_at.desc(),
                NearDuplicate.version_id,
                NearDuplicate.other_id,
            )
            .limit(limit)
            .offset(offset)
        ).all()
        return {"total": total, "pairs": [_pair(session, pair) for pair in found]}


def _open_pairs(*, answered: bool) -> Select[NearDuplicate]:
    one, other = aliased(Version), aliased(Version)
    return (
        select(NearDuplicate)
        .join(one, one.id == NearDuplicate.version_id)
        .join(other, other.id == NearDuplicate.other_id)
        .where(NearDuplicate.answer.is_not(None) if answered else NearDuplicate.answer.is_(None))
        .where(one.merged_into_id.is_(None), other.merged_into_id.is_(None))
        .where(one.state != VersionState.DESTROYED, other.state != VersionState.DESTROYED)
    )


def _pair(session: Session, pair: NearDuplicate) -> dict[str, Any]:
    older, newer = session.get_one(Version, pair.other_id), session.get_one(Version, pair.version_id)
    sides = [_side(session, version) for version in (older, newer)]
    return {
        "version_id": pair.version_id,
        "other_id": pair.other_id,
        "same_pixels": pair.same_pixels,
        "distance": pair.distance,
        "alike": alike(pair),
        "how": how(pair, *(version.asset.kind for version in (older, newer) if version.asset)),
        "answer": pair.answer,
        "answered_by": pair.answered_by,
        "answered_at": pair.answered_at.isoformat() if pair.answered_at else None,
        "versions": sides,
        "differs": [
            {"field": field, "values": [side["facts"][field] for side in sides]}
            for field in sides[0]["facts"]
            if sides[0]["facts"][field] != sides[1]["facts"][field]
        ],
    }


def _side(session: Session, version: Version) -> dict[str, Any]:
    """Return one of a pair as people compare it; ``facts`` are plain words by field."""
    asset, described = version.asset, version.description
    published = session.scalars(
        select(Publication.status).join(Version).where(or_(Version.id == version.id, _merged_into(version.id)))
    ).all()
    facts: dict[str, str] = {
        "campaign": (asset.campaign.name if asset and asset.campaign else "") or "none",
        "deliverable": (asset.deliverable.title if asset and asset.deliverable else "") or "none",
        "format": version.media_type,
        "size": (f"{version.width} × {version.height}, " if version.width else "") + f"{version.bytes:,} bytes",
        "length": clock(version.seconds) if version.seconds else "",
        "colour": " ".join(
            str(version.technical[name]) for name in ("colour_space", "bits", "icc_name") if version.technical.get(name)
        ),
        **{name: (getattr(described, name) or "") if described else "" for name in _DESCRIBED},
        "tags": ", ".join(sorted({tag.term_id for tag in version.tags if tag.status == "applied"})),
        "refused tags": ", ".join(sorted({tag.term_id for tag in version.tags if tag.status == "refused"})),
        "rights": "; ".join(sorted(_grants(asset))) if asset else "",
        "publications": f"{len(published)}, {published.count('live')} live" if published else "none",
        "requests": f"{requests(session, [version.id]):,}",
        "sent by": f"{version.batch.supplier or version.batch.sent_by}, {version.batch.received_at:%-d %b %Y}",
    }
    return {
        "version_id": version.id,
        "asset_id": version.asset_id,
        "asset": asset.name if asset else None,
        "number": version.number,
        "filename": version.filename,
        "state": version.state,
        "alt_text": facts["alt_text"],
        "recipes": sorted({rendition.recipe for rendition in version.renditions}.difference(ASIDE)),
        "facts": facts,
    }


def _grants(asset: Asset) -> list[str]:
    return [
        f"{grant.licence.reference}: {_words(grant.channels, 'all channels')}, "
        f"{_words(grant.territories, 'everywhere')}, "
        f"{f'until {grant.ends_on.isoformat()}' if grant.ends_on else 'no end'}, model release "
        f"{grant.model_release.replace('_', ' ')}, property release {grant.property_release.replace('_', ' ')}"
        for grant in asset.grants
    ]


def _words(values: list[str], every: str) -> str:
    return every if "*" in values else ", ".join(values)


def _merged_into(version_id: str) -> Any:
    return Version.merged_into_id == version_id


def requests(session: Session, version_ids: list[str]) -> int:
    """Return how often publications of versions were asked for, those merged into them included."""
    return int(
        session.scalar(
            select(func.coalesce(func.sum(UsageFact.hits), 0))
            .join(Publication, Publication.id == UsageFact.publication_id)
            .join(Version, Version.id == Publication.version_id)
            .where(or_(Version.id.in_(version_ids), Version.merged_into_id.in_(version_ids)))
        )
        or 0
    )


def requests_of(session: Session, publication_id: str) -> int:
    """Return how often a publication was asked for."""
    found = select(func.coalesce(func.sum(UsageFact.hits), 0)).where(UsageFact.publication_id == publication_id)
    return int(session.scalar(found) or 0)


def answer(services: Services, *, version_ids: tuple[str, str], said: Answer | None, person: str) -> dict[str, Any]:
    """Remember what a librarian says of a pair: ``different`` things, or ``both`` are kept; None asks again.

    :returns: ``{"version_id", "other_id", "answer"}``.
    :raises BadInput: there is no such answer. :raises NotFound: the two are no pair.
    :raises Refused: the person may not.
    """
    if said is not None and said not in ANSWERS:
        raise BadInput(f"{said!r} is no answer", where="answer", remedy=f"Use: {', '.join(ANSWERS)}.")
    if not any(services.workflow.has_role(person, role) for role in MERGERS):
        raise Refused(f"{person} may not answer for duplicates", where="duplicates", remedy="Ask a librarian.")
    later, earlier = max(version_ids), min(version_ids)
    with services.session() as session:
        pair = session.get(NearDuplicate, (later, earlier), with_for_update=True)
        if pair is None:
            raise NotFound("these two are no pair", where=f"{later} and {earlier}")
        if pair.answer != said:
            pair.answer = said
            pair.answered_by, pair.answered_at = (person, utcnow()) if said else (None, None)
            audit.record(
                session,
                actor=person,
                action="duplicate.answered",
                subject_id=later,
                data={"other_id": earlier, "answer": said},
            )
    return {"version_id": later, "other_id": earlier, "answer": said}


# ---------------------------------------------------------------------------------------------- one asset


def leads_to(session: Session, asset_id: str) -> str | None:
    """Return the asset that one leads to: all its versions were merged away; None while one stands by itself.

    Versions that are destroyed don't count. Where they went to several, the newest one's asset is returned.
    """
    rows = session.execute(
        select(Version.state, Version.merged_into_id).where(Version.asset_id == asset_id).order_by(Version.number)
    ).all()
    if any(row.merged_into_id is None and row.state != VersionState.DESTROYED for row in rows):
        return None
    into = [row.merged_into_id for row in rows if row.merged_into_id]
    return session.scalar(select(Version.asset_id).where(Version.id == into[-1])) if into else None


def deliveries(session: Session, version_id: str) -> list[dict[str, Any]]:
    """Return every delivery of a version's bytes, and of those merged into it, the first one first.

    :returns: rows of ``{"batch_id", "path", "location", "sender", "received_at", "first", "as"}``; ``as`` names the
        version that was merged into this one, or is None.
    """
    rows = session.execute(
        select(BatchFile, Batch, Version)
        .join(Batch, Batch.id == BatchFile.batch_id)
        .join(Version, Version.id == BatchFile.version_id)
        .where(or_(Version.id == version_id, _merged_into(version_id)))
        .order_by(Batch.received_at, BatchFile.id)
    ).all()
    return [
        {
            "batch_id": batch.id,
            "path": file.path,
            "location": batch.location,
            "sender": batch.supplier or batch.sent_by,
            "received_at": batch.received_at.isoformat(),
            "first": version.id == version_id and file.outcome != FileOutcome.DUPLICATE,
            "as": _label(version) if version.id != version_id else None,
        }
        for file, batch, version in rows
    ]


def _label(version: Version) -> str:
    return f"{version.asset.name} v{version.number}" if version.asset else version.filename


def merged(services: Services, *, limit: int = 50) -> list[dict[str, Any]]:
    """Return the newest merges, the undone ones as well; rows as :func:`merge_row` makes them."""
    with services.session() as session:
        rows = session.scalars(select(Merge).order_by(Merge.merged_at.desc()).limit(limit))
        return [merge_row(session, row) for row in rows]


def merge_row(session: Session, row: Merge) -> dict[str, Any]:
    """Return a merge as people read it.

    :returns: ``{"merge_id", "kept", "dropped", "kept_asset_id", "conflicts", "took_over", "merged_by", "merged_at",
        "undone_by", "undone_at", "left"}``.
    """
    changes = row.changes
    return {
        "merge_id": row.id,
        "kept": _label(session.get_one(Version, row.kept_version_id)),
        "dropped": _label(session.get_one(Version, row.dropped_version_id)),
        "kept_asset_id": row.kept_asset_id,
        "dropped_version_id": row.dropped_version_id,
        "conflicts": changes["conflicts"],
        "took_over": {
            "fields": sorted([*changes["description"]["filled"], *changes["description"]["custom"]]),
            "tags": len(changes["tags"]["added"]),
            "grants": len(changes["grants"]["added"]),
        },
        "merged_by": row.merged_by,
        "merged_at": row.merged_at.isoformat(),
        "undone_by": row.undone_by,
        "undone_at": row.undone_at.isoformat() if row.undone_at else None,
        "left": row.left,
    }
