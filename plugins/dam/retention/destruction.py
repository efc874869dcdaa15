"""Destruction: what policy makes due, minus holds, signed by its hash, certified one by one."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from dam import audit
from dam.catalog.lifecycle import change_state, holds_on
from dam.catalog.models import (
    AuditEvent,
    DestructionCertificate,
    Rendition,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import DamError, NotFound, Refused
from dam.plan.briefs import canonical
from dam.retention.policies import Policy, policies

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


def due(services: Services, *, today: date, run: str | None = None) -> dict[str, Any]:
    """List what is due for destruction on a day, freeze the list with its SHA-256, and file it.

    :returns: ``{"sha256", "today", "due", "held", "uri"}``; due rows are ``{"version_id", "name", "sha256",
        "policy", "due_since"}``, held ones ``{"version_id", "name", "reason"}``.
    """
    rules = policies(services)
    rows, held = [], []
    with services.session() as session:
        archived = session.scalars(
            select(Version)
            .where(Version.state == VersionState.ARCHIVED, Version.retain_until.is_not(None))
            .where(Version.retain_until <= today)
            .order_by(Version.id)
        ).all()
        quarantined = session.scalars(
            select(Version).where(Version.state == VersionState.QUARANTINED).order_by(Version.id)
        ).all()
        for version in [*archived, *quarantined]:
            policy = _policy(session, rules.policies, version)
            if policy is None:
                continue
            since = version.retain_until
            if version.state == VersionState.QUARANTINED:
                since = date.fromordinal(version.state_changed_at.date().toordinal() + policy.keep_days)
                if since > today:
                    continue
            if holds := holds_on(session, version):
                held.append({"version_id": version.id, "name": _name(version), "reason": holds[0].reason})
                continue
            rows.append(
                {
                    "version_id": version.id,
                    "name": _name(version),
                    "sha256": version.sha256,
                    "policy": f"{policy.name}: kept {policy.keep_days} days, {policy.why}",
                    "due_since": since.isoformat() if since else None,
                }
            )
    body = {"today": today.isoformat(), "due": rows}
    sha256 = hashlib.sha256(canonical(body)).hexdigest()
    told = body | {"held": held, "sha256": sha256}
    stored = services.storage.reports.put(
        f"destruction/lists/{sha256}.json", json.dumps(told, indent=2).encode(), media_type="application/json"
    )
    with services.session() as session:
        audit.record(
            session,
            actor="airflow",
            action="destruction.listed",
            subject_id=sha256,
            data={"due": [row["version_id"] for row in rows], "held": [row["version_id"] for row in held]},
            run=run,
        )
    return told | {"uri": stored.uri}


def _policy(session: Session, rules: list[Policy], version: Version) -> Policy | None:
    """Return the policy that applies to an archived or quarantined version."""
    if version.state == VersionState.QUARANTINED:
        return next((rule for rule in rules if rule.tier == "quarantine"), None)
    archived = session.scalar(
        select(AuditEvent)
        .where(AuditEvent.subject_id == version.id, AuditEvent.action == "version.archived")
        .order_by(AuditEvent.seq.desc())
        .limit(1)
    )
    before = archived.data.get("from") if archived else None
    return next((rule for rule in rules if rule.tier == "cold" and rule.state_before in (None, before)), None)


def _name(version: Version) -> str:
    return f"{version.asset.name} v{version.number}" if version.asset else version.filename


def destroy(
    services: Services,
    *,
    list_sha256: str,
    version_ids: list[str],
    signed_by: str,
    run: str | None = None,
) -> list[dict[str, Any]]:
    """Destroy what a signed list names: every copy and rendition, each version with its certificate.

    :param list_sha256: the hash that was signed. :param signed_by: the DAM admin who signed it.
    :returns: rows of ``{"version_id", "certificate_id", "uri"}``; run again, it answers the same.
    :raises Refused: the signer is no DAM admin, the list is not the one that was filed, a version is not on it,
        or a hold was placed since.
    """
    if not services.workflow.has_role(signed_by, "dam_admin"):
        raise Refused(f"{signed_by} is no DAM admin", where="destruction list", remedy="Ask one to sign.")
    key = f"destruction/lists/{list_sha256}.json"
    try:
        filed = json.loads(services.storage.reports.read(key))
    except NotFound:
        raise Refused("no list with this hash was filed", where=list_sha256) from None
    body = {"today": filed["today"], "due": filed["due"]}
    if hashlib.sha256(canonical(body)).hexdigest() != list_sha256:
        raise Refused("the filed list was changed after it was hashed", where=key, remedy="Make a new list.")
    listed = {row["version_id"]: row for row in filed["due"]}
    if extra := sorted(set(version_ids) - set(listed)):
        raise Refused(f"{', '.join(extra)} is not on the signed list", where=list_sha256)
    _refuse_held(services, version_ids)
    return [
        _destroy_one(services, listed[version_id], list_sha256, signed_by, run) for version_id in sorted(version_ids)
    ]


def _refuse_held(services: Services, version_ids: list[str]) -> None:
    """Refuse the whole list when a hold was placed on anything of it since it was signed."""
    with services.session() as session:
        for version in session.scalars(select(Version).where(Version.id.in_(version_ids))):
            if version.state != VersionState.DESTROYED and (holds := holds_on(session, version)):
                raise Refused(
                    f"{_name(version)} is on legal hold ({holds[0].reason})",
                    where=f"version {version.id}",
                    remedy="Nothing was destroyed. Make a new list, which leaves it out.",
                )


def _destroy_one(
    services: Services, row: dict[str, Any], list_sha256: str, signed_by: str, run: str | None
) -> dict[str, Any]:
    with services.session() as session:
        version = session.get_one(Version, row["version_id"], with_for_update={"of": Version})
        if version.state == VersionState.DESTROYED:
            known = session.scalars(
                select(DestructionCertificate).where(DestructionCertificate.version_id == version.id)
            ).one()
            return {"version_id": version.id, "certificate_id": known.id, "uri": known.certificate_uri}
        if holds_on(session, version):  # placed while the list was being worked
            raise Refused("it is on legal hold", where=f"version {version.id}")
        _, key = services.storage.resolve(version.storage_uri)
        uris = [f"{store}:{key}" for store in ("vault", "cold", "quarantine")]
        uris += list(session.scalars(select(Rendition.storage_uri).where(Rendition.version_id == version.id)))
        for uri in uris:
            store, at = services.storage.resolve(uri)
            store.delete(at)
            if store.exists(at):
                raise DamError("is still there after it was deleted", where=uri, remedy="Look at the store's rights.")
        certificate_id = new_id("crt")
        document = {
            "certificate_id": certificate_id,
            "version_id": version.id,
            "name": row["name"],
            "sha256": version.sha256,
            "policy": row["policy"],
            "list_sha256": list_sha256,
            "signed_by": signed_by,
            "proved_gone": uris,
            "destroyed_at": utcnow().isoformat(),
            "run": run,
        }
        stored = services.storage.reports.put(
            f"destruction/certificates/{version.id}.json",
            json.dumps(document, indent=2).encode(),
            media_type="application/json",
        )
        session.add(
            DestructionCertificate(
                id=certificate_id,
                version_id=version.id,
                sha256=version.sha256,
                policy=row["policy"],
                signed_by=signed_by,
                destroyed_uris=uris,
                certificate_uri=stored.uri,
                destroyed_at=utcnow(),
            )
        )
        why = f"signed destruction list {list_sha256[:12]}"
        change_state(session, version, VersionState.DESTROYED, actor=signed_by, why=why, run=run)
        session.execute(delete(Rendition).where(Rendition.version_id == version.id))
        return {"version_id": version.id, "certificate_id": certificate_id, "uri": stored.uri}
