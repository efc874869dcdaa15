"""Packages: versions frozen as a manifest with a hash, and the verdict that their seats' signatures give.

The manifest holds, for each version, its bytes, its metadata and its rights. Whatever of these changes,
changes the hash; a signature names the hash it was given for, so it can't outlive a change.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from dam import audit
from dam.catalog.lifecycle import change_state
from dam.catalog.models import (
    Asset,
    Batch,
    Decision,
    Description,
    Grant,
    Package,
    PackageStatus,
    PackageVersion,
    Seat,
    Tag,
    Verdict,
    Version,
    VersionState,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.plan.briefs import canonical

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

DESCRIBED = (
    "title", "description", "alt_text", "creator", "credit_line", "copyright_notice", "language", "date_created",
    "custom",
)  # fmt: skip
#: States of versions that a package's next round takes over from it.
REVIEWABLE = frozenset({VersionState.IN_REVIEW, VersionState.APPROVED})
#: Ids that one query names at most; PostgreSQL takes 65,535 parameters.
IN_ONE_QUERY = 10_000
#: Stage under which a run claims a package's review: the id of the DAG that reviews packages.
STAGE = "review_package"
#: How long after its deadline an open seat is taken for expired though no run of Airflow closed it.
LAPSE = timedelta(hours=1)
#: States of versions that only a new review brings back.
RETURNING = frozenset({VersionState.WITHDRAWN, VersionState.RESTORED})
#: Roles that may reopen a review that expired unsigned, or that of a version that was live.
REOPENERS = ("marketing_lead", "dam_admin")


# ---------------------------------------------------------------------------------------------- manifest


def manifest(session: Session, version_ids: list[str]) -> dict[str, Any]:
    """Return the manifest entries of versions by id: bytes, metadata, applied tags and grants.

    A few queries for all of them, however many there are: every publication asks for its whole package's.
    """
    entries: dict[str, Any] = {}
    for start in range(0, len(version_ids), IN_ONE_QUERY):
        entries |= _entries(session, version_ids[start : start + IN_ONE_QUERY])
    return entries


def _entries(session: Session, version_ids: list[str]) -> dict[str, Any]:
    fresh = {"populate_existing": True}
    rows = session.execute(
        select(Version, Asset.name)
        .join(Asset, Asset.id == Version.asset_id)
        .where(Version.id.in_(version_ids))
        .order_by(Version.id)
        .execution_options(**fresh)
    ).all()
    described = {
        row.version_id: row
        for row in session.scalars(
            select(Description).where(Description.version_id.in_(version_ids)).execution_options(**fresh)
        )
    }
    tags: dict[str, set[str]] = {}
    for version_id, term_id in session.execute(
        select(Tag.version_id, Tag.term_id).where(Tag.version_id.in_(version_ids), Tag.status == "applied")
    ):
        tags.setdefault(version_id, set()).add(term_id)
    grants: dict[str, list[Grant]] = {}
    for grant in session.scalars(
        select(Grant)
        .where(Grant.asset_id.in_({version.asset_id for version, _ in rows}))
        .options(joinedload(Grant.licence))
        .order_by(Grant.id)
        .execution_options(**fresh)
    ):
        grants.setdefault(grant.asset_id, []).append(grant)
    return {
        version.id: {
            "asset": name,
            "number": version.number,
            "sha256": version.sha256,
            "bytes": version.bytes,
            "media_type": version.media_type,
            "metadata": _described(described.get(version.id)),
            "tags": sorted(tags.get(version.id, ())),
            "rights": [_granted(grant) for grant in grants.get(str(version.asset_id), [])],
        }
        for version, name in rows
    }


def _described(row: Description | None) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in DESCRIBED} if row else {}


def _granted(grant: Grant) -> dict[str, Any]:
    return {
        "licence": grant.licence.reference,
        "holder": grant.licence.holder,
        "territories": sorted(grant.territories),
        "channels": sorted(grant.channels),
        "starts_on": grant.starts_on.isoformat(),
        "ends_on": grant.ends_on.isoformat() if grant.ends_on else None,
        "model_release": grant.model_release,
        "property_release": grant.property_release,
        "permissions": sorted(grant.permissions),
        "duties": sorted(grant.duties),
        "max_count": grant.max_count,
    }


def _plain(value: Any) -> Any:
    # in UTC: the same moment must have the same hash whatever zone a connection speaks in
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


# ------------------------------------------------------------------------------------------------ freeze


def freeze(
    services: Services,
    *,
    batch_id: str,
    version_ids: list[str],
    seats: list[str] | None = None,
    channels: list[str] | None = None,
    run: str | None = None,
) -> str:
    """Freeze versions of a batch as a package and return its id; the versions go into review.

    The same versions freeze the same package, however often and from however many processes.

    :param seats: roles that must sign; the default is the workflow's seats.
    :param channels: where it is to be published; the default is what the deliverables or the campaign say.
        Seats and channels are those of its next rounds too.
    :raises Refused: a seat has nobody who may take it, or a version is not freshly ingested: it is in
        another package already.
    :raises BadInput: there is no version. :raises NotFound: the batch or one of the versions in it is unknown.
    """
    wanted = sorted(set(version_ids))
    if not wanted:
        raise BadInput("a package needs versions", where=f"batch {batch_id}")
    with services.session() as session:
        if session.get(Batch, batch_id, with_for_update={"of": Batch}) is None:
            raise NotFound("there is no such batch", where=batch_id)
        for package in session.scalars(
            select(Package).where(Package.batch_id == batch_id).order_by(Package.round.desc())
        ):
            if sorted(entry.version_id for entry in package.entries) == wanted:
                return package.id
        found = session.execute(
            select(Version.id, Version.state).where(Version.id.in_(wanted), Version.batch_id == batch_id)
        )
        states = {row.id: row.state for row in found}
        for version_id in wanted:
            if version_id not in states:
                raise NotFound("there is no such version in the batch", where=f"batch {batch_id}: {version_id}")
            if states[version_id] != VersionState.INGESTED:
                raise Refused(
                    f"it is {states[version_id]}",
                    where=f"version {version_id}",
                    remedy="Leave it out of the package.",
                )
        return _freeze(services, session, batch_id, wanted, seats, run, channels=channels).id


def _freeze(
    services: Services,
    session: Session,
    batch_id: str,
    version_ids: list[str],
    roles: list[str] | None,
    run: str | None,
    *,
    channels: list[str] | None,
    follows: Package | None = None,
) -> Package:
    """Make the package, its entries and its seats, in the transaction of ``session``.

    :param follows: the package whose next round it is.
    """
    batch = session.get_one(Batch, batch_id, with_for_update={"of": Batch})  # rounds are counted one by one
    versions = session.scalars(select(Version).where(Version.id.in_(version_ids)).order_by(Version.id)).all()
    number = (session.scalar(select(func.max(Package.round)).where(Package.batch_id == batch_id)) or 0) + 1
    entries = manifest(session, version_ids)
    body = {"batch_id": batch_id, "round": number, "versions": entries}
    package = Package(
        campaign_id=batch.campaign_id,
        batch_id=batch_id,
        round=number,
        follows_id=follows.id if follows else None,
        manifest=body,
        manifest_sha256=_sha256(body),
        channels=channels,
    )
    session.add(package)
    session.flush()
    for version in versions:
        session.add(
            PackageVersion(package_id=package.id, version_id=version.id, entry_sha256=_sha256(entries[version.id]))
        )
    makers = makers_of(session, package, versions=list(versions))
    rules = [services.workflow.seat_rule(role) for role in roles] if roles else services.workflow.seats
    for ordinal, rule in enumerate(rules):
        eligible = [person for person in services.workflow.members(rule.role) if person not in makers]
        if not eligible:
            raise Refused(
                f"nobody may take the seat of the {rule.role.replace('_', ' ')}: its holders made these versions",
                where=f"batch {batch_id}",
                remedy="Give the role to another person in workflow.yaml.",
            )
        session.add(
            Seat(
                package_id=package.id,
                ordinal=ordinal,
                role=rule.role,
                veto=rule.veto,
                eligible=eligible,
                due_at=utcnow() + timedelta(hours=rule.due_hours),
            )
        )
    for version in versions:
        change_state(
            session,
            version,
            VersionState.IN_REVIEW,
            actor="airflow",
            why=f"frozen for review, round {number}",
            run=run,
            package_id=package.id,
        )
    audit.record(
        session,
        actor="airflow",
        action="package.frozen",
        subject_id=package.id,
        data={"manifest_sha256": package.manifest_sha256, "versions": version_ids, "round": number},
        run=run,
    )
    session.flush()
    return package


def makers_of(session: Session, package: Package, *, versions: list[Version] | None = None) -> set[str]:
    """Return who made or sent any version of a package: nobody of them may take a seat."""
    if versions is None:
        versions = [entry.version for entry in package.entries]
    batches = {version.batch_id for version in versions} | {package.batch_id}
    senders = session.scalars(select(Batch.sent_by).where(Batch.id.in_(batches)))
    makers = {version.made_by for version in versions} | set(senders)
    return makers | {f"guest:{maker.lower()}" for maker in makers}  # nor as a guest, by the address they sent from


# --------------------------------------------------------------------------------------------- questions


def locked(session: Session, package_id: str) -> Package:
    """Return a package with its row locked. :raises NotFound: there is none."""
    found = session.get(Package, package_id, with_for_update={"of": Package})
    if found is None:
        raise NotFound("there is no such package", where=package_id)
    return found


def versions(services: Services, *, package_id: str) -> list[str]:
    """Return the ids of a package's versions."""
    with services.session() as session:
        return sorted(session.scalars(select(PackageVersion.version_id).where(PackageVersion.package_id == package_id)))


def seats(services: Services, *, package_id: str) -> list[dict[str, Any]]:
    """Return a package's seats in order.

    :returns: rows of ``{"seat_id", "role", "veto", "status", "eligible", "due_at", "signed_by", "verdict"}``.
    """
    with services.session() as session:
        rows = session.scalars(select(Seat).where(Seat.package_id == package_id).order_by(Seat.ordinal)).all()
        return [
            {
                "seat_id": seat.id,
                "role": seat.role,
                "veto": seat.veto,
                "status": seat.status,
                "eligible": list(seat.eligible),
                "due_at": seat.due_at.isoformat(),
                "signed_by": seat.decision.person if seat.decision else None,
                "verdict": seat.decision.verdict if seat.decision else None,
            }
            for seat in rows
        ]


# ---------------------------------------------------------------------------------------------- validity


def changed_versions(session: Session, package: Package) -> list[str]:
    """Return the package's versions whose bytes, metadata or rights are not what was frozen.

    Of a package that is decided, only the approved versions count, and those not that are in a later package.
    """
    gone_on = _gone_on(session, package)
    entries = [
        entry
        for entry in package.entries
        if entry.version_id not in gone_on
        and (package.status == PackageStatus.IN_REVIEW or entry.verdict == Verdict.APPROVE)
    ]
    now = manifest(session, [entry.version_id for entry in entries])
    return [entry.version_id for entry in entries if _sha256(now[entry.version_id]) != entry.entry_sha256]


def _gone_on(session: Session, package: Package) -> set[str]:
    """Return the package's versions that are in a later package too: it speaks for them no more."""
    rows = session.scalars(
        select(PackageVersion.version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .where(Package.batch_id == package.batch_id, Package.round > package.round)
    )
    return {entry.version_id for entry in package.entries} & set(rows)


def approves(session: Session, package_id: str, version_id: str) -> bool:
    """Return whether a package is approved, and its approval is of what one of its versions is now.

    A later package over the version takes the approval's place, whatever came of it.
    """
    if newest(session, version_id) != package_id:
        return False
    entry = session.get_one(PackageVersion, (package_id, version_id), populate_existing=True)
    status = session.scalar(select(Package.status).where(Package.id == package_id))
    if status != PackageStatus.APPROVED or entry.verdict != Verdict.APPROVE:
        return False
    return _sha256(manifest(session, [version_id])[version_id]) == entry.entry_sha256


def newest(session: Session, version_id: str) -> str | None:
    """Return the newest package over a version; None when it was in none."""
    return session.scalar(
        select(Package.id)
        .join(PackageVersion, PackageVersion.package_id == Package.id)
        .where(PackageVersion.version_id == version_id)
        .order_by(Package.round.desc())
        .limit(1)
    )


def expire(session: Session, seat: Seat, *, run: str | None) -> None:
    """Close an open seat unsigned, in the transaction of ``session``."""
    seat.status = "expired"
    audit.record(
        session,
        actor="airflow",
        action="seat.expired",
        subject_id=seat.package_id,
        data={"seat_id": seat.id, "role": seat.role},
        run=run,
    )


def revalidate(services: Services, *, package_id: str, run: str | None = None) -> str | None:
    """Compare a package with what its versions are now.

    :returns: None when it is still valid (or was decided against). Otherwise the package is void, its
        versions are in review again, and the id of the next round's package is returned. Versions that
        are live stay live; the audit event lists them. When all are, there is nothing to review: the
        package is void without a next round, and None is returned.
    """
    with services.session() as session:
        package = locked(session, package_id)
        if package.status == PackageStatus.VOID:
            return next_round(session, package)
        if package.status not in (PackageStatus.IN_REVIEW, PackageStatus.APPROVED):
            return None
        if not changed_versions(session, package):
            return None
        return void(services, session, package, run=run)


def void(services: Services, session: Session, package: Package, *, run: str | None) -> str | None:
    """Void a package in the transaction of ``session`` and freeze its next round.

    :returns: the next round's id; None when every version is live or gone, so that none can be reviewed.
    """
    changed = changed_versions(session, package)
    gone_on = _gone_on(session, package)
    undecided = package.status == PackageStatus.IN_REVIEW
    again = [
        entry.version_id
        for entry in package.entries
        if entry.version.state in REVIEWABLE
        and entry.version_id not in gone_on
        and (undecided or entry.verdict == Verdict.APPROVE)
    ]
    live = [entry.version_id for entry in package.entries if entry.version.state == VersionState.LIVE]
    package.status = PackageStatus.VOID
    package.closed_at = package.closed_at or utcnow()
    package.void_reason = f"changed after it was frozen: {', '.join(changed)}"
    for seat in package.seats:
        if seat.status == "open":
            seat.status = "void"
    audit.record(
        session,
        actor="airflow",
        action="package.void",
        subject_id=package.id,
        data={"changed": changed, "manifest_sha256": package.manifest_sha256, "still_live": live},
        run=run,
    )
    session.flush()
    if not again:
        return None
    return _next(services, session, package, again, run)


def _next(services: Services, session: Session, package: Package, version_ids: list[str], run: str | None) -> str:
    """Freeze the next round of a package, with the same seats and for the same channels."""
    roles = [seat.role for seat in package.seats]
    following = _freeze(
        services, session, package.batch_id, version_ids, roles, run, channels=package.channels, follows=package
    )
    return following.id


def next_round(session: Session, package: Package) -> str | None:
    """Return the package that followed a void or expired one: the next round over its versions."""
    return session.scalar(select(Package.id).where(Package.follows_id == package.id))


def reopen_expired(services: Services, *, package_id: str, person: str, run: str | None = None) -> str:
    """Freeze the next round of a package that expired unsigned, and return its id.

    A package whose seats are long overdue expires by this.

    :raises Refused: the package did not expire, or the person is neither marketing lead nor DAM admin.
    """
    _check_reopener(services, person, package_id)
    with services.session() as session:
        package = locked(session, package_id)
        if package.status == PackageStatus.IN_REVIEW and any(has_lapsed(seat) for seat in package.seats):
            _conclude(services, session, package, run)
        if package.status != PackageStatus.EXPIRED:
            raise Refused(f"the package is {package.status}, not expired", where=package_id)
        if following := next_round(session, package):
            return following
        audit.record(session, actor=person, action="package.reopened", subject_id=package_id, run=run)
        again = [entry.version_id for entry in package.entries if entry.version.state in REVIEWABLE]
        return _next(services, session, package, again, run)


def reopen_withdrawn(services: Services, *, version_id: str, person: str, run: str | None = None) -> str:
    """Freeze a withdrawn or restored version for a new review, and return the package's id.

    It is frozen alone, for the seats that decided on it before. Asked again while that review is open, it
    answers the same package.

    :raises Refused: the version is neither, or the person is neither marketing lead nor DAM admin.
    :raises NotFound: there is no such version.
    """
    _check_reopener(services, person, version_id)
    with services.session() as session:
        version = session.get(Version, version_id)
        if version is None:
            raise NotFound("there is no such version", where=version_id)
        session.get_one(Batch, version.batch_id, with_for_update={"of": Batch})
        session.refresh(version, with_for_update={"of": Version})
        before = newest(session, version_id)
        last = session.get_one(Package, before) if before else None
        if last is not None and version.state == VersionState.IN_REVIEW and last.status == PackageStatus.IN_REVIEW:
            return last.id
        if version.state not in RETURNING:
            raise Refused(
                f"the version is {version.state.replace('_', ' ')}",
                where=version_id,
                remedy="Only one that was withdrawn or restored is sent to review again.",
            )
        audit.record(session, actor=person, action="version.reopened", subject_id=version_id, run=run)
        roles = [seat.role for seat in last.seats] if last else None
        channels = last.channels if last else None
        return _freeze(services, session, version.batch_id, [version_id], roles, run, channels=channels).id


def _check_reopener(services: Services, person: str, where: str) -> None:
    if not any(services.workflow.has_role(person, role) for role in REOPENERS):
        raise Refused(f"{person} may not reopen a review", where=where, remedy="Ask a marketing lead.")


# ----------------------------------------------------------------------------------------------- verdict


def verdict(services: Services, *, package_id: str, run: str | None = None) -> dict[str, Any]:
    """Draw a package's verdict from its signatures, once no seat is open, and give versions their states.

    A version is approved when every seat approves it, rejected when a veto seat rejects it, and otherwise
    changes are requested. A veto seat that rejects every version ends the review at once. A seat that
    expired approves nothing. A package that changed after its last signature is void.

    :returns: ``{"status", "approved", "changes_requested", "rejected", "next_package_id"}``; the status is
        None while seats are open; the lists hold version ids.
    """
    with services.session() as session:
        package = locked(session, package_id)
        if package.status == PackageStatus.IN_REVIEW:
            _conclude(services, session, package, run)
        by_verdict: dict[str | None, list[str]] = {}
        for entry in package.entries:
            by_verdict.setdefault(entry.verdict, []).append(entry.version_id)
        open_yet = package.status == PackageStatus.IN_REVIEW
        follows = package.status in (PackageStatus.VOID, PackageStatus.EXPIRED)
        return {
            "status": None if open_yet else str(package.status),
            "approved": [] if follows else sorted(by_verdict.get(Verdict.APPROVE, [])),
            "changes_requested": [] if follows else sorted(by_verdict.get(Verdict.REQUEST_CHANGES, [])),
            "rejected": [] if follows else sorted(by_verdict.get(Verdict.REJECT, [])),
            "next_package_id": next_round(session, package) if follows else None,
        }


def has_lapsed(seat: Seat) -> bool:
    """Return whether a seat is overdue for so long that nobody's answer can still be on its way."""
    return seat.status == "open" and seat.due_at + LAPSE <= utcnow()


def _conclude(services: Services, session: Session, package: Package, run: str | None) -> None:
    for seat in package.seats:
        if has_lapsed(seat):  # no run of Airflow waits for it, or it would have closed it
            expire(session, seat, run=run)
    decisions = {
        decision.seat_id: decision
        for decision in session.scalars(select(Decision).where(Decision.package_id == package.id))
    }
    vetoed = any(
        all(_said(decisions[seat.id], entry.version_id) == Verdict.REJECT for entry in package.entries)
        for seat in package.seats
        if seat.veto and seat.id in decisions
    )
    if not vetoed:
        if any(seat.status == "open" for seat in package.seats):
            return
        if any(seat.status == "expired" for seat in package.seats):
            _close(session, package, PackageStatus.EXPIRED, run)
            return
        if changed_versions(session, package):
            void(services, session, package, run=run)
            return
    for entry in package.entries:
        entry.verdict = Verdict.REJECT if vetoed else _version_verdict(package, decisions, entry.version_id)
        change_state(
            session,
            entry.version,
            STATE_OF[Verdict(entry.verdict)],
            actor="airflow",
            why=f"verdict of package {package.id}, round {package.round}",
            run=run,
            package_id=package.id,
        )
    given = {entry.verdict for entry in package.entries}
    if Verdict.APPROVE in given:
        status = PackageStatus.APPROVED
    elif Verdict.REQUEST_CHANGES in given:
        status = PackageStatus.CHANGES_REQUESTED
    else:
        status = PackageStatus.REJECTED
    for seat in package.seats:
        if seat.status == "open":
            seat.status = "void"
    _close(session, package, status, run)


STATE_OF = {
    Verdict.APPROVE: VersionState.APPROVED,
    Verdict.REQUEST_CHANGES: VersionState.CHANGES_REQUESTED,
    Verdict.REJECT: VersionState.REJECTED,
}


def _said(decision: Decision, version_id: str) -> Verdict:
    """Return what a signature says of one version: its own verdict, or else the package's."""
    return Verdict(decision.versions.get(version_id, {}).get("verdict", decision.verdict))


def _version_verdict(package: Package, decisions: dict[str, Decision], version_id: str) -> Verdict:
    """Return what the signed seats together say of one version."""
    said = [(seat.veto, _said(decisions[seat.id], version_id)) for seat in package.seats if seat.id in decisions]
    if said and all(verdict == Verdict.APPROVE for _, verdict in said):
        return Verdict.APPROVE
    if any(veto and verdict == Verdict.REJECT for veto, verdict in said):
        return Verdict.REJECT
    return Verdict.REQUEST_CHANGES


def _close(session: Session, package: Package, status: PackageStatus, run: str | None) -> None:
    package.status, package.closed_at = status, utcnow()
    audit.record(
        session,
        actor="airflow",
        action=f"package.{status}",
        subject_id=package.id,
        data={
            "manifest_sha256": package.manifest_sha256,
            "versions": {entry.version_id: entry.verdict for entry in package.entries},
        },
        run=run,
    )
    session.flush()
