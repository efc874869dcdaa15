"""Cold storage: what is over moves there, read back and confirmed; what is needed again comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, exists, func, or_, select, tablesample, text
from sqlalchemy.orm import aliased

from dam import audit
from dam.catalog.lifecycle import ALLOWED, HeldVersion, change_state, holds_on
from dam.catalog.models import (
    ArchiveConfirmation,
    Asset,
    Campaign,
    Hold,
    Publication,
    PublicationStatus,
    Tier,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import DamError, NotFound, Refused
from dam.plan import briefs
from dam.retention.policies import policies
from dam.rights import policy as rights
from dam.storage.store import StoreFailed

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage import Moving

#: States in which a version can be over; the partial index ``ix_versions_to_archive`` holds just these.
CANDIDATES = (
    VersionState.INGESTED, VersionState.APPROVED, VersionState.CHANGES_REQUESTED, VersionState.REJECTED,
    VersionState.WITHDRAWN, VersionState.RESTORED,
)  # fmt: skip
#: Below this many versions a random sample is drawn exactly, above it by pages of the table.
SMALL = 100_000


def due(services: Services, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """Return the versions that are due for cold storage, the longest over first, each with its reason.

    Due are: rejected versions; versions whose changes nobody answered, and withdrawn ones; those superseded
    by an approved or live version of the same asset, at once; those of ended campaigns. The others after the
    grace of their state (``retention.yaml``). Never what is live, in review, scheduled to go live, or on hold; nor
    the document of a brief, which is kept with what was signed.

    :returns: rows of ``{"version_id", "reason"}``.
    """
    with services.session() as session:
        rows = session.execute(_over(services, now or utcnow())).all()
    return [{"version_id": version_id, "reason": reason} for version_id, reason in rows]


def _over(services: Services, now: datetime) -> Select[str, str]:
    """Return the query of what is over: version id and reason."""
    newer = aliased(Version)
    superseded = exists().where(
        newer.asset_id == Version.asset_id,
        newer.number > Version.number,
        newer.state.in_([VersionState.APPROVED, VersionState.LIVE]),
    )
    ended = func.coalesce(
        or_(Campaign.ended_at <= now, Campaign.ends_on < now.astimezone(UTC).date()), False
    )  # no campaign, no end
    scheduled = exists().where(Publication.version_id == Version.id, Publication.status == PublicationStatus.SCHEDULED)
    held = exists().where(
        Hold.released_at.is_(None), or_(Hold.asset_id == Asset.id, Hold.campaign_id == Asset.campaign_id)
    )
    grace_days = policies(services).grace_days
    rested = or_(
        # its successor is there, so nobody waits for it
        and_(superseded, Version.state.not_in([VersionState.WITHDRAWN, VersionState.RESTORED])),
        *(
            and_(Version.state == state, Version.state_changed_at <= now - timedelta(days=grace_days.get(state, 0)))
            for state in CANDIDATES
        ),
    )
    reason: ColumnElement[str] = case(
        (Version.state == VersionState.REJECTED, "it was rejected"),
        (superseded, "a later version took its place"),
        (ended, "its campaign has ended"),
        (Version.state == VersionState.WITHDRAWN, "it was withdrawn"),
        (Version.state == VersionState.CHANGES_REQUESTED, "its changes were never made"),
    )
    return (
        select(Version.id, reason)
        .join(Asset, Asset.id == Version.asset_id)
        .outerjoin(Campaign, Campaign.id == Asset.campaign_id)
        .where(Version.tier == Tier.HOT, Version.state.in_(CANDIDATES), rested, reason.is_not(None))
        .where(~scheduled, ~held, Version.batch_id.not_in(briefs.BATCHES))
        .order_by(Version.state_changed_at, Version.id)
    )


def archive(services: Services, *, version_ids: list[str], run: str | None = None) -> list[dict[str, Any]]:
    """Move versions to cold storage; one that fails doesn't stop the others.

    The bytes are copied and read back, then the version is archived with its confirmation (row and JSON
    document), and only then the source is removed. So the catalogue names verified bytes at every moment, and
    run again after an interruption it ends in the same state.

    :returns: rows of ``{"version_id", "uri", "confirmation_id"}``, or ``{"version_id", "error"}``.
    """
    results: list[dict[str, Any]] = []
    for version_id in dict.fromkeys(version_ids):
        try:
            results.append(_archive_one(services, version_id, run))
        except (DamError, OSError) as error:
            results.append({"version_id": version_id, "error": str(error)})
    return results


def _archive_one(services: Services, version_id: str, run: str | None) -> dict[str, Any]:
    with services.storage.moving() as moving, services.session() as session:
        version = _locked(session, version_id)
        confirmation: ArchiveConfirmation | None
        if version.state != VersionState.ARCHIVED:
            confirmation = put_away(services, session, moving, version, run=run)
        elif confirmation := _confirmed(session, version):  # a run that was killed at the end left the source
            moving.leave(confirmation.from_uri, copy=version.storage_uri, sha256=version.sha256)
        uri = version.storage_uri
    return {"version_id": version_id, "uri": uri, "confirmation_id": confirmation.id if confirmation else None}


def _confirmed(session: Session, version: Version) -> ArchiveConfirmation | None:
    """Return the confirmation of where a version is now."""
    return session.scalars(
        select(ArchiveConfirmation)
        .where(ArchiveConfirmation.version_id == version.id, ArchiveConfirmation.to_uri == version.storage_uri)
        .order_by(ArchiveConfirmation.confirmed_at.desc(), ArchiveConfirmation.id.desc())
        .limit(1)
    ).first()


def _locked(session: Session, version_id: str) -> Version:
    version = session.get(Version, version_id, with_for_update={"of": Version})
    if version is None or version.asset is None:
        raise NotFound("there is no such version", where=version_id)
    return version


def put_away(
    services: Services,
    session: Session,
    moving: Moving,
    version: Version,
    *,
    reason: str | None = None,
    actor: str = "airflow",
    run: str | None = None,
) -> ArchiveConfirmation:
    """Copy a version to cold storage, archive it and file the confirmation, in the transaction of ``session``.

    :param reason: one sentence; None: why it is over, or that it was asked for.
    :raises Refused: its state or a hold forbids it. :raises Corrupt: the copy does not match.
    """
    before = VersionState(version.state)
    where = f"version {version.id}"
    if VersionState.ARCHIVED not in ALLOWED[before]:
        raise Refused(f"it is {before}", where=where, remedy="It can't be archived now.")
    if holds := holds_on(session, version):
        raise HeldVersion(f"it is on legal hold ({holds[0].reason})", where=where)
    if reason is None:
        over = session.execute(_over(services, utcnow()).where(Version.id == version.id)).one_or_none()
        reason = over[1] if over else "it was asked for"
    from_uri = version.storage_uri
    to_uri = services.storage.cold.uri(services.storage.resolve(from_uri)[1])
    moving.copy(from_uri, to_uri, sha256=version.sha256)
    asset = version.asset
    campaign = asset.campaign if asset else None
    policy = policies(services).policy(
        tier="cold", kind=asset.kind if asset else None, campaign=campaign.slug if campaign else None, state=before
    )
    confirmation = ArchiveConfirmation(
        id=new_id("arc"),
        version_id=version.id,
        from_uri=from_uri,
        to_uri=to_uri,
        sha256=version.sha256,
        bytes=version.bytes,
        reason=reason,
        confirmed_at=utcnow(),
    )
    since = confirmation.confirmed_at.date()
    session.add(confirmation)
    version.storage_uri, version.tier = to_uri, Tier.COLD
    version.retain_until = policy.until(since) if policy else None
    change_state(session, version, VersionState.ARCHIVED, actor=actor, why=reason, run=run)
    document = {
        "confirmation_id": confirmation.id,
        "version_id": version.id,
        "asset": asset.name if asset else None,
        "number": version.number,
        "from": from_uri,
        "to": to_uri,
        "sha256": version.sha256,
        "bytes": version.bytes,
        "reason": reason,
        "kept_until": version.retain_until.isoformat() if version.retain_until else None,
        "policy": policy.explain(since) if policy else "no policy fits it: kept for ever",
        "confirmed_at": confirmation.confirmed_at.isoformat(),
        "run": run,
    }
    # Numbered, not named by id: the run after one that was killed here writes the same document again.
    number = session.scalars(
        select(func.count()).select_from(ArchiveConfirmation).where(ArchiveConfirmation.version_id == version.id)
    ).one()
    services.storage.reports.put(
        f"archive/{version.id}/{number:02d}.json",
        json.dumps(document, indent=2, ensure_ascii=False).encode(),
        media_type="application/json",
    )
    return confirmation


def restore(services: Services, *, version_id: str, person: str, reason: str, run: str | None = None) -> dict[str, Any]:
    """Bring an archived version back to the vault, read back and compared; it is ``restored`` then.

    Rights are asked as at every exit: somewhere it is meant for, its use must be allowed today.

    :param person: username of who wants it. :param reason: what for, one sentence.
    :returns: ``{"version_id", "uri"}``; one that is restored already is answered as it is.
    :raises Refused: the version is not archived, or its rights allow no use; says why.
    """
    with services.storage.moving() as moving, services.session() as session:
        version = _locked(session, version_id)
        _, key = services.storage.resolve(version.storage_uri)
        cold_uri, hot_uri = services.storage.cold.uri(key), services.storage.vault.uri(key)
        if version.state == VersionState.RESTORED:  # a run that was killed at the end left the source
            moving.leave(cold_uri, copy=version.storage_uri, sha256=version.sha256)
            return {"version_id": version_id, "uri": version.storage_uri}
        if version.state != VersionState.ARCHIVED:
            raise Refused(f"it is {version.state}, not archived", where=f"version {version_id}")
        if version.merged_into_id is not None:
            raise Refused(
                f"it was merged into version {version.merged_into_id}, which has the same pixels",
                where=f"version {version_id}",
                remedy="Use that one, or undo the merge on the duplicates page.",
            )
        _ask(session, version)
        moving.copy(version.storage_uri, hot_uri, sha256=version.sha256)
        version.storage_uri, version.tier, version.retain_until = hot_uri, Tier.HOT, None
        change_state(session, version, VersionState.RESTORED, actor=person, why=reason, run=run)
    return {"version_id": version_id, "uri": hot_uri}


def _ask(session: Session, version: Version) -> None:
    """Refuse a restore when the rights policy allows no use that the asset is meant for."""
    asset = session.get_one(Asset, version.asset_id)
    channels, territories = rights.destinations(asset)
    if not channels:  # meant for nothing in particular: any use that its grants name
        channels = sorted({channel for grant in asset.grants for channel in grant.channels}) or [rights.ANYWHERE]
        territories = asset.grants[0].territories if asset.grants else []
    today = utcnow().date()
    answers = [
        rights.ask(session, version_id=version.id, channel=channel, territories=territories, on=today)
        for channel in channels
    ]
    if not any(answer.allowed for answer in answers):
        raise Refused(
            " ".join(dict.fromkeys(reason for answer in answers for reason in answer.reasons)),
            where=f"version {version.id}",
            remedy="Renew its licence on the asset page, then restore it.",
        )


# ------------------------------------------------------------------------------------------------ fixity


def verify_bytes(services: Services, *, version_ids: list[str], run: str | None = None) -> dict[str, Any]:
    """Read versions back from their stores and compare their SHA-256.

    :returns: ``{"checked", "bad"}``; bad rows are ``{"version_id", "uri", "problem"}``.
    :raises StoreFailed: a store gave no answer for some, and all others are as they should be.
    """
    bad = []
    unread = []
    with services.session() as session:
        rows = session.execute(
            select(Version.id, Version.storage_uri, Version.sha256)
            .where(Version.id.in_(version_ids), Version.tier != Tier.GONE)
            .order_by(Version.id)
        ).all()
    for version_id, uri, sha256 in rows:
        store, key = services.storage.resolve(uri)
        try:
            found = store.digest(key)
        except NotFound:
            bad.append({"version_id": version_id, "uri": uri, "problem": "it is not there"})
            continue
        except (DamError, OSError) as error:
            unread.append(f"{uri}: {error}")
            continue
        if found != sha256:
            bad.append({"version_id": version_id, "uri": uri, "problem": f"its SHA-256 is {found}"})
    with services.session() as session:
        audit.record(
            session,
            actor="airflow",
            action="fixity.checked",
            subject_id="fixity",
            data={"checked": len(rows) - len(unread), "bad": bad, "unread": unread},
            run=run,
        )
    if unread and not bad:
        raise StoreFailed(
            f"{len(unread)} of {len(rows)} versions could not be read: {' | '.join(unread)}",
            where="fixity",
            remedy="Run it again when the store is back.",
        )
    return {"checked": len(rows) - len(unread), "bad": bad}


def fixity(services: Services, *, sample: int, run: str | None = None) -> dict[str, Any]:
    """Read a random sample of stored versions back and compare; see :func:`verify_bytes`.

    :param sample: how many versions to read, over all tiers.
    """
    with services.session() as session:
        rows = session.scalar(text("SELECT reltuples FROM pg_class WHERE oid = 'versions'::regclass")) or 0
        source: type[Version] = Version
        if rows > SMALL:  # sorting the whole library by chance would cost more than reading the sample
            source = aliased(Version, tablesample(Version.__table__, func.system(min(100.0, 2000.0 * sample / rows))))
        ids = list(
            session.scalars(select(source.id).where(source.tier != Tier.GONE).order_by(func.random()).limit(sample))
        )
    return verify_bytes(services, version_ids=ids, run=run)
