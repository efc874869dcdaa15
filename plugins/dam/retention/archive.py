"""Cold storage: what is over moves there, read back and confirmed; what is needed again comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import aliased

from dam import audit
from dam.catalog.lifecycle import ALLOWED, change_state, holds_on
from dam.catalog.models import (
    ArchiveConfirmation,
    Asset,
    Campaign,
    Tier,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import DamError, NotFound, Refused
from dam.retention.policies import policies

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from dam.services import Services

#: States in which a version can be over.
CANDIDATES = (
    VersionState.INGESTED, VersionState.APPROVED, VersionState.CHANGES_REQUESTED, VersionState.REJECTED,
    VersionState.WITHDRAWN,
)  # fmt: skip


def due(services: Services, *, now: datetime | None = None) -> list[dict[str, Any]]:
    """Return the versions that are due for cold storage, each with its reason.

    Due are: rejected versions; withdrawn ones after their grace; those superseded by an approved or live
    version of the same asset; those of ended campaigns. Never what is live or on hold.

    :returns: rows of ``{"version_id", "reason"}``.
    """
    now = now or utcnow()
    grace = timedelta(days=policies(services).withdrawn_grace_days)
    newer = aliased(Version)
    superseded = exists().where(
        newer.asset_id == Version.asset_id,
        newer.number > Version.number,
        newer.state.in_([VersionState.APPROVED, VersionState.LIVE]),
    )
    ended: ColumnElement[bool] = or_(Campaign.ended_at.is_not(None), Campaign.ends_on < now.astimezone(UTC).date())
    with services.session() as session:
        rows = session.execute(
            select(Version, superseded.label("superseded"), ended.label("ended"))
            .join(Asset, Asset.id == Version.asset_id)
            .outerjoin(Campaign, Campaign.id == Asset.campaign_id)
            .where(Version.tier == Tier.HOT, Version.state.in_(CANDIDATES))
            .where(
                or_(
                    Version.state == VersionState.REJECTED,
                    (Version.state == VersionState.WITHDRAWN) & (Version.state_changed_at <= now - grace),
                    superseded,
                    ended,
                )
            )
            .order_by(Version.state_changed_at, Version.id)
        ).all()
        found = []
        for version, is_superseded, is_ended in rows:
            if holds_on(session, version):
                continue
            if version.state in (VersionState.REJECTED, VersionState.WITHDRAWN):
                reason = f"it is {version.state}"
            elif is_superseded:
                reason = "a later version took its place"
            else:
                reason = "its campaign has ended" if is_ended else "it is over"
            found.append({"version_id": version.id, "reason": reason})
    return found


def archive(services: Services, *, version_ids: list[str], run: str | None = None) -> list[dict[str, Any]]:
    """Move versions to cold storage; one that fails doesn't stop the others.

    Moved, read back, confirmed (row and JSON document), and only then archived. Run again after an
    interruption, it ends in the same state.

    :returns: rows of ``{"version_id", "uri", "confirmation_id"}``, or ``{"version_id", "error"}``.
    """
    reasons = {row["version_id"]: row["reason"] for row in due(services)}
    results: list[dict[str, Any]] = []
    for version_id in version_ids:
        try:
            results.append(_archive_one(services, version_id, reasons.get(version_id, "it was asked for"), run))
        except (DamError, OSError) as error:
            results.append({"version_id": version_id, "error": str(error)})
    return results


def _archive_one(services: Services, version_id: str, reason: str, run: str | None) -> dict[str, Any]:
    with services.session() as session:
        version = session.get(Version, version_id, with_for_update={"of": Version})
        if version is None:
            raise NotFound("there is no such version", where=version_id)
        if version.state == VersionState.ARCHIVED:
            known = session.scalar(
                select(ArchiveConfirmation)
                .where(ArchiveConfirmation.version_id == version_id)
                .order_by(ArchiveConfirmation.confirmed_at.desc())
                .limit(1)
            )
            return {
                "version_id": version_id,
                "uri": version.storage_uri,
                "confirmation_id": known.id if known else None,
            }
        before = version.state
        if VersionState.ARCHIVED not in ALLOWED[VersionState(before)]:
            raise Refused(f"it is {before}", where=f"version {version_id}", remedy="It can't be archived now.")
        if holds := holds_on(session, version):
            raise Refused(f"it is on legal hold ({holds[0].reason})", where=f"version {version_id}")
        from_uri = version.storage_uri
        _, key = services.storage.resolve(from_uri)
        stored = services.storage.move(from_uri, "cold", key, sha256=version.sha256)
        confirmation = ArchiveConfirmation(
            id=new_id("arc"),
            version_id=version_id,
            from_uri=from_uri,
            to_uri=stored.uri,
            sha256=version.sha256,
            bytes=stored.bytes,
            reason=reason,
            confirmed_at=utcnow(),
        )
        session.add(confirmation)
        version.storage_uri, version.tier = stored.uri, Tier.COLD
        policy = policies(services).for_version("cold", before)
        if policy is not None:
            version.retain_until = utcnow().date() + timedelta(days=policy.keep_days)
        change_state(session, version, VersionState.ARCHIVED, actor="airflow", why=reason, run=run)
        document = {
            "confirmation_id": confirmation.id,
            "version_id": version_id,
            "asset": version.asset.name if version.asset else None,
            "number": version.number,
            "from": from_uri,
            "to": stored.uri,
            "sha256": version.sha256,
            "bytes": stored.bytes,
            "reason": reason,
            "kept_until": version.retain_until.isoformat() if version.retain_until else None,
            "policy": policy.name if policy else None,
            "confirmed_at": confirmation.confirmed_at.isoformat(),
            "run": run,
        }
        services.storage.reports.put(
            f"archive/{version_id}/{confirmation.id}.json",
            json.dumps(document, indent=2).encode(),
            media_type="application/json",
        )
        return {"version_id": version_id, "uri": stored.uri, "confirmation_id": confirmation.id}


def restore(services: Services, *, version_id: str, person: str, reason: str, run: str | None = None) -> dict[str, Any]:
    """Bring an archived version back to the vault, read back and compared; it is ``restored`` then.

    :raises Refused: the version is not archived, or its rights have ended everywhere.
    """
    with services.session() as session:
        version = session.get(Version, version_id, with_for_update={"of": Version})
        if version is None or version.asset is None:
            raise NotFound("there is no such version", where=version_id)
        if version.state == VersionState.RESTORED:
            return {"version_id": version_id, "uri": version.storage_uri}
        if version.state != VersionState.ARCHIVED:
            raise Refused(f"it is {version.state}, not archived", where=f"version {version_id}")
        today = utcnow().date()
        grants = version.asset.grants
        if not any(grant.ends_on is None or grant.ends_on >= today for grant in grants):
            raise Refused(
                "no licence for it is in force",
                where=f"version {version_id}",
                remedy="Renew its licence on the asset page, then restore it.",
            )
        _, key = services.storage.resolve(version.storage_uri)
        stored = services.storage.move(version.storage_uri, "vault", key, sha256=version.sha256)
        version.storage_uri, version.tier, version.retain_until = stored.uri, Tier.HOT, None
        change_state(session, version, VersionState.RESTORED, actor=person, why=reason, run=run)
        return {"version_id": version_id, "uri": stored.uri}


def verify_bytes(services: Services, *, version_ids: list[str], run: str | None = None) -> dict[str, Any]:
    """Read versions back from their stores and compare their SHA-256.

    :returns: ``{"checked", "bad"}``; bad rows are ``{"version_id", "uri", "problem"}``.
    """
    bad = []
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
        if found != sha256:
            bad.append({"version_id": version_id, "uri": uri, "problem": f"its SHA-256 is {found}"})
    with services.session() as session:
        audit.record(
            session,
            actor="airflow",
            action="fixity.checked",
            subject_id="fixity",
            data={"checked": len(rows), "bad": bad},
            run=run,
        )
    return {"checked": len(rows), "bad": bad}


def fixity(services: Services, *, sample: int, run: str | None = None) -> dict[str, Any]:
    """Read a random sample of stored versions back and compare; see :func:`verify_bytes`.

    :param sample: how many versions to read, over all tiers.
    """
    with services.session() as session:
        ids = list(
            session.scalars(select(Version.id).where(Version.tier != Tier.GONE).order_by(func.random()).limit(sample))
        )
    return verify_bytes(services, version_ids=ids, run=run)
