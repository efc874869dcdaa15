"""Destruction: what policy makes due, minus holds, signed by its hash, certified one by one."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import joinedload

from dam import audit
from dam.catalog.lifecycle import HeldVersion, change_state, holds_on
from dam.catalog.models import (
    Asset,
    AuditEvent,
    Batch,
    BatchFile,
    Campaign,
    DestructionCertificate,
    DestructionList,
    DestructionSignature,
    Hold,
    Publication,
    Rendition,
    Version,
    VersionState,
    new_id,
    utcnow,
)
from dam.errors import DamError, NotFound, Refused
from dam.ingest import contents, drops
from dam.plan.briefs import canonical
from dam.retention.clock import is_rehearsal
from dam.retention.policies import Policies, policies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

    from dam.services import Services


# ------------------------------------------------------------------------------------------------- list


def due(services: Services, *, today: date, run: str | None = None) -> dict[str, Any]:
    """List what is due for destruction on a day, freeze the list with its SHA-256, and file it.

    Due is an archived version whose ``retain_until`` has come, unless the policy that applies today keeps it
    longer (the longer of the two counts, and no policy means for ever), and a refused file after its time in
    quarantine. The same day and catalogue give the same hash. A run has one list: asked again, it is answered
    the same, so that what was shown is what is signed. The list of a day that has not come is a rehearsal.

    :returns: ``{"list_id", "sha256", "today", "due", "held", "rehearsal", "uri"}``; due rows are
        ``{"version_id", "name", "sha256", "policy", "due_since"}``, held ones ``{"version_id", "name", "reason"}``.
    """
    with services.session() as session:
        known = session.scalar(select(DestructionList).where(DestructionList.run == run)) if run else None
        if known is not None:
            return _told(services, known)
        rows, held = _look(services, session, today)
        listed = DestructionList(
            id=new_id("dst"),
            run=run,
            sha256=_sha256(today, rows),
            today=today,
            due=rows,
            held=held,
            listed_at=utcnow(),
        )
        told = _told(services, listed)
        services.storage.reports.put(
            _list_key(listed.sha256),
            json.dumps(told, indent=2, ensure_ascii=False).encode(),
            media_type="application/json",
        )
        session.add(listed)
        audit.record(
            session,
            actor="airflow",
            action="destruction.listed",
            subject_id=listed.sha256,
            data={
                "list_id": listed.id,
                "due": [row["version_id"] for row in rows],
                "held": [row["version_id"] for row in held],
                "rehearsal": is_rehearsal(services, listed.today),
            },
            run=run,
        )
    return told


def of_run(services: Services, *, run: str) -> dict[str, Any]:
    """Return the list that a run made, as :func:`due` did. :raises NotFound: it made none."""
    with services.session() as session:
        listed = session.scalar(select(DestructionList).where(DestructionList.run == run))
        if listed is None:
            raise NotFound("this run made no destruction list", where=run, remedy="Let it list what is due first.")
        return _told(services, listed)


def _told(services: Services, listed: DestructionList) -> dict[str, Any]:
    return {
        "list_id": listed.id,
        "sha256": listed.sha256,
        "today": listed.today.isoformat(),
        "due": listed.due,
        "held": listed.held,
        "rehearsal": is_rehearsal(services, listed.today),
        "uri": services.storage.reports.uri(_list_key(listed.sha256)),
    }


def _list_key(sha256: str) -> str:
    return f"destruction/lists/{sha256}.json"


def _sha256(today: date, rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(canonical({"today": today.isoformat(), "due": rows})).hexdigest()


def _look(services: Services, session: Session, today: date) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of what is due and of what a hold keeps."""
    rules = policies(services)
    rows: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for version in _ripe(session, rules, today):
        row = _row(session, rules, version, today)
        if row is None:
            continue
        if holds := _holds(session, version):
            reason = "; ".join(hold.reason for hold in holds)
            held.append({"version_id": version.id, "name": row["name"], "reason": reason})
        else:
            rows.append(row)
    return rows, held


def _ripe(session: Session, rules: Policies, today: date) -> Iterable[Version]:
    """Return the versions that may be due, by the indexes of retention and of state."""
    days = [rule.until(today) - today for rule in rules.policies if rule.tier == "quarantine"]
    yield from session.scalars(
        select(Version)
        .where(Version.state == VersionState.ARCHIVED, Version.retain_until <= today)
        .order_by(Version.id)
    )
    if days:
        refused_before = datetime.combine(today - min(days) + timedelta(days=2), clock.min, UTC)  # a leap day of slack
        yield from session.scalars(
            select(Version)
            .where(Version.state == VersionState.QUARANTINED, Version.state_changed_at < refused_before)
            .order_by(Version.id)
        )


def _row(session: Session, rules: Policies, version: Version, today: date) -> dict[str, Any] | None:
    """Return a version's row of the list; None when it is not due on that day."""
    asset, campaign = version.asset, version.asset.campaign if version.asset else version.batch.campaign
    if version.state == VersionState.ARCHIVED:
        tier, promised = "cold", version.retain_until
        before, since = _archived(session, version)
    elif version.state == VersionState.QUARANTINED:
        tier, promised = "quarantine", None
        before, since = str(version.state), version.state_changed_at.date()
    else:
        return None
    policy = rules.policy(
        tier=tier, kind=asset.kind if asset else None, campaign=campaign.slug if campaign else None, state=before
    )
    if policy is None or (tier == "cold" and promised is None):
        return None
    until = max(policy.until(since), promised or date.min)
    if until > today:
        return None
    return {
        "version_id": version.id,
        "name": _name(version),
        "sha256": version.sha256,
        "policy": policy.explain(since),
        "due_since": until.isoformat(),
    }


def _archived(session: Session, version: Version) -> tuple[str, date]:
    """Return what a version was before it was archived, and when that was."""
    archived = session.scalar(
        select(AuditEvent)
        .where(AuditEvent.subject_id == version.id, AuditEvent.action == "version.archived")
        .order_by(AuditEvent.seq.desc())
        .limit(1)
    )
    return (str(archived.data.get("from")) if archived else ""), version.state_changed_at.date()


def _holds(session: Session, version: Version) -> list[Hold]:
    """Return the holds on a version; a refused file is covered by its campaign's too."""
    if version.asset_id is not None:
        return holds_on(session, version)
    return list(
        session.scalars(
            select(Hold)
            .join(Batch, Batch.campaign_id == Hold.campaign_id)
            .where(Batch.id == version.batch_id, Hold.released_at.is_(None))
            .order_by(Hold.placed_at)
        )
    )


def _name(version: Version) -> str:
    return f"{version.asset.name} v{version.number}" if version.asset else version.filename


# ------------------------------------------------------------------------------------------------- sign


def sign(services: Services, *, list_id: str, person: str, run: str | None = None) -> str:
    """Sign a list by its hash, and return who signed it; of two signatures the first one stands.

    :param person: username of a DAM admin.
    :raises Refused: the person is no DAM admin; the list is a rehearsal, or was changed after it was hashed.
    """
    _check_admin(services, person)
    with services.session() as session:
        listed = _frozen(session, list_id)
        _check_day(services, listed)
        made = session.execute(
            insert(DestructionSignature)
            .values(list_id=list_id, list_sha256=listed.sha256, person=person, signed_at=utcnow(), run=run)
            .on_conflict_do_nothing()
            .returning(DestructionSignature.list_id)
        ).scalar()
        if made is not None:
            audit.record(
                session,
                actor=person,
                action="destruction.signed",
                subject_id=listed.sha256,
                data={"list_id": list_id, "versions": len(listed.due)},
                run=run,
            )
        return session.get_one(DestructionSignature, list_id).person


def keep(services: Services, *, list_id: str, person: str, reason: str = "", run: str | None = None) -> None:
    """Note that a DAM admin left a list unsigned: all that it names is kept.

    :raises Refused: the person is no DAM admin.
    """
    _check_admin(services, person)
    with services.session() as session:
        listed = _frozen(session, list_id)
        audit.record(
            session,
            actor=person,
            action="destruction.kept",
            subject_id=listed.sha256,
            data={"list_id": list_id, "reason": reason},
            run=run,
        )


def signer(services: Services, *, list_id: str) -> str | None:
    """Return who signed a list; None when nobody did."""
    with services.session() as session:
        signature = session.get(DestructionSignature, list_id)
        return signature.person if signature else None


def _check_admin(services: Services, person: str) -> None:
    if not services.workflow.has_role(person, "dam_admin"):
        raise Refused(f"{person} is no DAM admin", where="destruction list", remedy="Ask one to sign.")


def _check_day(services: Services, listed: DestructionList) -> None:
    if is_rehearsal(services, listed.today):
        raise Refused(
            f"it looks from {listed.today:%Y-%m-%d}, which has not come: it is a rehearsal",
            where=f"destruction list {listed.sha256[:12]}",
            remedy="Make a new list when the day has come.",
        )


def _frozen(session: Session, list_id: str) -> DestructionList:
    """Return a list that is still what was hashed."""
    listed = session.get(DestructionList, list_id)
    if listed is None:
        raise NotFound("there is no such destruction list", where=list_id, remedy="Make a new list.")
    if _sha256(listed.today, listed.due) != listed.sha256:
        raise Refused("the list was changed after it was hashed", where=list_id, remedy="Make a new list.")
    return listed


# ---------------------------------------------------------------------------------------------- destroy


def destroy(services: Services, *, list_id: str, run: str | None = None) -> list[dict[str, Any]]:
    """Destroy what a signed list names: every copy and rendition, each version with its certificate.

    What is destroyed, and who signed it, is read from the catalogue and from nowhere else.

    :returns: rows of ``{"version_id", "certificate_id", "uri"}``; run again, it answers the same.
    :raises Refused: nobody signed the list, or who did is no DAM admin any more; the list is a rehearsal, or not
        the one that was signed; what it names has changed since (a hold, a restore, a longer policy): says what.
        Nothing was destroyed then, but for what an interrupted run had destroyed already.
    :raises DamError: some copies could not be removed; all others were.
    """
    with services.session() as session:
        listed = _frozen(session, list_id)
        signature = session.get(DestructionSignature, list_id)
    where = f"destruction list {listed.sha256[:12]}"
    if signature is None:
        raise Refused("nobody has signed it", where=where, remedy="Ask a DAM admin to sign.")
    if signature.list_sha256 != listed.sha256:
        raise Refused("it is not the list that was signed", where=where, remedy="Make a new list.")
    _check_admin(services, signature.person)
    _check_day(services, listed)
    if changes := _changes(services, listed):
        raise Refused(
            f"the list is not what was signed any more: {'; '.join(changes)}",
            where=where,
            remedy="Nothing more was destroyed. Make a new list and have it signed.",
        )
    done: list[dict[str, Any]] = []
    failed: list[str] = []
    for row in listed.due:
        try:
            done.append(_destroy_one(services, row, signature, run))
        except (DamError, OSError) as error:
            failed.append(f"{row['name']}: {error}")
    if failed:
        raise DamError(
            f"{len(failed)} of {len(listed.due)} versions could not be destroyed: {'; '.join(failed)}",
            where=where,
            remedy="Mend the cause and run it again; the others are done and certified.",
        )
    return done


def _changes(services: Services, listed: DestructionList) -> list[str]:
    """Say what is not as it was signed; what is destroyed already is as it should be."""
    said = []
    rules = policies(services)
    with services.session() as session:
        for row in listed.due:
            version = session.get(Version, row["version_id"])
            if version is None:
                said.append(f"{row['name']} is not in the catalogue")
            elif version.state == VersionState.DESTROYED:
                continue
            elif holds := _holds(session, version):
                said.append(f"{row['name']} is on legal hold ({holds[0].reason})")
            elif (now := _row(session, rules, version, listed.today)) is None:
                said.append(f"{row['name']} is {version.state} and not due")
            elif now != row:
                changed = ", ".join(key for key in row if now[key] != row[key])
                said.append(f"{row['name']} has another {changed}")
    return said


def _destroy_one(
    services: Services, row: dict[str, Any], signature: DestructionSignature, run: str | None
) -> dict[str, Any]:
    with services.session() as session:
        version = session.get_one(Version, row["version_id"], with_for_update={"of": Version})
        if version.state == VersionState.DESTROYED:
            known = session.scalars(
                select(DestructionCertificate).where(DestructionCertificate.version_id == version.id)
            ).one()
            return {"version_id": version.id, "certificate_id": known.id, "uri": known.certificate_uri}
        _keep_holds_out(session, version)
        if holds := _holds(session, version):  # placed while the list was being worked
            raise HeldVersion(f"it is on legal hold ({holds[0].reason})", where=f"version {version.id}")
        uris = _copies(services, session, version)
        for uri in uris:
            store, at = services.storage.resolve(uri)
            store.delete(at)
            if store.exists(at):
                raise DamError("is still there after it was deleted", where=uri, remedy="Look at the store's rights.")
        now = utcnow()
        document = audit.sign(
            services,
            {
                "version_id": version.id,
                "name": row["name"],
                "sha256": version.sha256,
                "bytes": version.bytes,
                "policy": row["policy"],
                "due_since": row["due_since"],
                "list_sha256": signature.list_sha256,
                "signed_by": signature.person,
                "proved_gone": uris,
                "destroyed_at": now.isoformat(timespec="seconds"),
                "run": run,
            },
        )
        stored = services.storage.reports.put(
            f"destruction/certificates/{version.id}.json",
            json.dumps(document, indent=2, ensure_ascii=False).encode(),
            media_type="application/json",
        )
        certificate = DestructionCertificate(
            id=new_id("crt"),
            version_id=version.id,
            sha256=version.sha256,
            policy=row["policy"],
            signed_by=signature.person,
            destroyed_uris=uris,
            certificate_uri=stored.uri,
            destroyed_at=now,
        )
        session.add(certificate)
        why = f"signed destruction list {signature.list_sha256[:12]}"
        change_state(session, version, VersionState.DESTROYED, actor=signature.person, why=why, run=run)
        session.execute(delete(Rendition).where(Rendition.version_id == version.id))
        return {"version_id": version.id, "certificate_id": certificate.id, "uri": stored.uri}


def _keep_holds_out(session: Session, version: Version) -> None:
    """Lock what a hold would name until we commit: placing one refers to its row, and so waits for us."""
    campaign_id = version.asset.campaign_id if version.asset else version.batch.campaign_id
    session.execute(select(Campaign.id).where(Campaign.id == campaign_id).with_for_update())
    session.execute(select(Asset.id).where(Asset.id == version.asset_id).with_for_update())


def _copies(services: Services, session: Session, version: Version) -> list[str]:
    """Return every place that may hold bytes of a version: its own in any tier, its renditions, what a
    delivery left at the origin, and the files it came as."""
    _, key = services.storage.resolve(version.storage_uri)
    uris = [version.storage_uri, *(f"{store}:{key}" for store in ("vault", "cold", "quarantine"))]
    uris += session.scalars(
        select(Rendition.storage_uri).where(Rendition.version_id == version.id).order_by(Rendition.id)
    )
    published = session.scalars(
        select(Publication).where(Publication.version_id == version.id).order_by(Publication.id)
    )
    for publication in published:
        uris += [services.storage.origin.uri(point["key"]) for point in publication.endpoints if point.get("key")]
    files = select(BatchFile).where(BatchFile.version_id == version.id).order_by(BatchFile.id)
    for row in session.scalars(files.options(joinedload(BatchFile.batch))):
        uris.append(services.storage.inbox.uri(contents.key_of(row.batch, row)))
        uris += [services.storage.inbox.uri(contents.key_of(row.batch, row, path)) for path in row.sidecars]
        uris += [services.storage.reports.uri(drops.filed_at(row.batch_id, path)) for path in row.sidecars]
    return list(dict.fromkeys(uris))
