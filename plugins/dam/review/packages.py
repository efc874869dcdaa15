"""Packages: versions frozen as a manifest with a hash, their rounds, and the verdict that signatures give.

One asset has one line of versions and is in one open round at most: freezing a newer version takes the older one
out of its round, whose other versions go on in the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from dam import audit
from dam.catalog.lifecycle import change_state
from dam.catalog.models import (
    Asset,
    Batch,
    Package,
    PackageStatus,
    PackageVersion,
    Purpose,
    Seat,
    SeatStatus,
    Verdict,
    Version,
    VersionState,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.plan import signing
from dam.review import annotations as notes
from dam.review import manifest as manifests
from dam.review import seating, verdicts

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: States of versions under review that a package's next round takes over from it.
REVIEWABLE = frozenset({VersionState.IN_REVIEW, VersionState.APPROVED})
#: Stage under which a run claims a package's review: the id of the DAG that reviews packages.
STAGE = "review_package"
#: How long after its deadline an open seat is taken for expired though no run of Airflow closed it.
LAPSE = timedelta(hours=1)
#: States of versions that only a new review brings back.
RETURNING = frozenset({VersionState.WITHDRAWN, VersionState.RESTORED})
#: Roles that may reopen a review that expired unsigned, or that of a version that was live.
REOPENERS = ("marketing_lead", "dam_admin")


# ------------------------------------------------------------------------------------------------ freeze


@dataclass(frozen=True, slots=True)
class _Meant:
    """What a package, and each of its next rounds, is asked for; see :func:`freeze`."""

    purpose: str
    brief_id: str | None
    roles: list[str] | None
    channels: list[str] | None

    @classmethod
    def by(cls, package: Package) -> _Meant:
        """Return what a package was asked for."""
        return cls(package.purpose, package.brief_id, [seat.role for seat in package.seats], package.channels)


def freeze(
    services: Services,
    *,
    batch_id: str,
    version_ids: list[str],
    seats: list[str] | None = None,
    channels: list[str] | None = None,
    purpose: str = Purpose.RELEASE,
    brief_id: str | None = None,
    run: str | None = None,
) -> str:
    """Freeze versions of a batch as a package and return its id; the versions go into review.

    The same versions freeze the same package, however often and from however many processes. Of several versions
    of one asset the newest is frozen. A version whose asset is in an open round already takes the older one's
    place: that round is void, and what else was in it goes on in its next (:func:`displaced`).

    :param seats: roles that must sign; the default is the workflow's seats.
    :param channels: where it is to be published; the default is what the deliverables or the campaign say.
        Seats and channels are those of its next rounds too.
    :param purpose: what the signatures are for (:class:`~dam.catalog.models.Purpose`). Versions of which the metadata
        is to be filled in stay as they are, and may be frozen for release meanwhile.
    :param brief_id: the brief that the versions show, where it is to be signed.
    :raises Refused: a seat has nobody who may take it, or no seat need sign; or a version is not freshly ingested
        (it is in another package already), or a newer one of its asset is being reviewed.
    :raises BadInput: there is no version. :raises NotFound: the batch or one of the versions in it is unknown.
    """
    wanted = sorted(set(version_ids))
    if not wanted:
        raise BadInput("a package needs versions", where=f"batch {batch_id}")
    with services.session() as session:
        wanted = _newest_of_each(session, wanted)
        # in the order in which signatures lock them, too
        for package_id in sorted(_open_rounds(session, wanted, purpose)):
            locked(session, package_id)
        if session.get(Batch, batch_id, with_for_update={"of": Batch}) is None:
            raise NotFound("there is no such batch", where=batch_id)
        for package in session.scalars(
            select(Package)
            .where(Package.batch_id == batch_id, Package.purpose == purpose)
            .order_by(Package.round.desc())
        ):
            if sorted(entry.version_id for entry in package.entries) == wanted:
                return package.id
        _check_fresh(session, batch_id, wanted)
        meant = _Meant(purpose, brief_id, seats, channels)
        return _freeze(services, session, batch_id, wanted, meant, run).id


def _newest_of_each(session: Session, version_ids: list[str]) -> list[str]:
    """Leave out versions of an asset that a later one among them takes the place of."""
    rows = session.execute(
        select(Version.id, Version.asset_id)
        .where(Version.id.in_(version_ids), Version.asset_id.is_not(None))
        .order_by(Version.number)
    ).all()
    newest = {row.asset_id: row.id for row in rows}
    older = {row.id for row in rows if row.id != newest[row.asset_id]}
    return [version_id for version_id in version_ids if version_id not in older]


def _check_fresh(session: Session, batch_id: str, wanted: list[str]) -> None:
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


def _freeze(
    services: Services,
    session: Session,
    batch_id: str,
    version_ids: list[str],
    meant: _Meant,
    run: str | None,
    *,
    follows: Package | None = None,
) -> Package:
    """Make the package, its entries and its seats, in the transaction of ``session``.

    :param follows: the package whose next round it is.
    """
    batch = session.get_one(Batch, batch_id, with_for_update={"of": Batch})  # rounds are counted one by one
    session.execute(
        select(Asset.id)
        .where(Asset.id.in_(select(Version.asset_id).where(Version.id.in_(version_ids))))
        .order_by(Asset.id)
        .with_for_update(key_share=True)
    )
    _take_over(services, session, version_ids, meant.purpose, run)
    versions = session.scalars(select(Version).where(Version.id.in_(version_ids)).order_by(Version.id)).all()
    rounds = select(func.max(Package.round)).where(Package.batch_id == batch_id, Package.purpose == meant.purpose)
    number = (session.scalar(rounds) or 0) + 1
    entries = manifests.of(session, version_ids, meant.purpose)
    body = {"batch_id": batch_id, "round": number, "versions": entries}
    if meant.brief_id is not None:
        body["brief"] = follows.manifest["brief"] if follows else signing.frozen(session, meant.brief_id)
    package = Package(
        campaign_id=batch.campaign_id,
        batch_id=batch_id,
        purpose=meant.purpose,
        brief_id=meant.brief_id,
        round=number,
        follows_id=follows.id if follows else None,
        manifest=body,
        manifest_sha256=manifests.sha256(body),
        channels=meant.channels,
        rest=follows.rest if follows else services.workflow.policy.rest,
    )
    session.add(package)
    session.flush()
    for version in versions:
        session.add(
            PackageVersion(
                package_id=package.id, version_id=version.id, entry_sha256=manifests.sha256(entries[version.id])
            )
        )
    makers = makers_of(session, package)
    seating.make(services, session, package, versions=list(versions), makers=makers, roles=meant.roles)
    for version in versions:
        _move(session, package, version, VersionState.IN_REVIEW, why=f"frozen for review, round {number}", run=run)
    audit.record(
        session,
        actor="airflow",
        action="package.frozen",
        subject_id=package.id,
        data={
            "manifest_sha256": package.manifest_sha256,
            "versions": version_ids,
            "round": number,
            "purpose": package.purpose,
        },
        run=run,
    )
    session.flush()
    session.expire(package, ["entries"])
    notes.carry(session, package=package, run=run)
    return package


def _move(
    session: Session, package: Package, version: Version, state: VersionState, *, why: str, run: str | None
) -> None:
    """Give a version the state that its package brings it to. What is only filled in stays as it is."""
    if package.purpose != Purpose.METADATA:
        change_state(session, version, state, actor="airflow", why=why, run=run, package_id=package.id)


# ------------------------------------------------------------------------------- one line, one open round


def _open_rounds(session: Session, version_ids: list[str], purpose: str) -> dict[str, list[Version]]:
    """Return the open packages for a purpose that hold another version of some versions' assets, with those."""
    mine, theirs = aliased(Version), aliased(Version)
    rows = session.execute(
        select(Package.id, theirs)
        .join(PackageVersion, PackageVersion.package_id == Package.id)
        .join(theirs, theirs.id == PackageVersion.version_id)
        .join(mine, mine.asset_id == theirs.asset_id)
        .where(mine.id.in_(version_ids), theirs.id.not_in(version_ids))
        .where(Package.status == PackageStatus.IN_REVIEW, Package.purpose == purpose)
        .order_by(Package.id, theirs.id)
    )
    found: dict[str, list[Version]] = {}
    for package_id, version in rows:
        found.setdefault(package_id, []).append(version)
    return found


def _take_over(services: Services, session: Session, version_ids: list[str], purpose: str, run: str | None) -> None:
    """Take older versions of the same assets out of their open rounds.

    :raises Refused: a newer version of one of the assets is being reviewed.
    """
    numbers = {
        row.asset_id: row.number
        for row in session.execute(select(Version.asset_id, Version.number).where(Version.id.in_(version_ids)))
    }
    for package_id, others in _open_rounds(session, version_ids, purpose).items():
        for other in others:
            if other.number is not None and other.number > numbers[other.asset_id]:
                name = other.asset.name if other.asset else other.asset_id
                raise Refused(
                    f"version {other.number} of {name} is being reviewed, which is newer",
                    where=f"package {package_id}",
                    remedy="Leave the older version out of the package.",
                )
        package = locked(session, package_id)
        said = [f"{other.asset.name} v{numbers[other.asset_id]}" for other in others if other.asset]
        why = f"a newer version took its place: {', '.join(said)}"
        for other in others:
            _move(session, package, other, VersionState.INGESTED, why=why, run=run)
        void(services, session, package, run=run, why=why)


def displaced(services: Services, *, package_id: str) -> list[str]:
    """Return the open next rounds of packages that lost a version to this package: they are to be reviewed."""
    mine, older, before = aliased(Version), aliased(Version), aliased(Package)
    theirs, own = aliased(PackageVersion), aliased(PackageVersion)
    with services.session() as session:
        rows = session.scalars(
            select(Package.id)
            .join(before, before.id == Package.follows_id)
            .join(theirs, theirs.package_id == before.id)
            .join(older, older.id == theirs.version_id)
            .join(mine, (mine.asset_id == older.asset_id) & (mine.number > older.number))
            .join(own, own.version_id == mine.id)
            .where(own.package_id == package_id, before.status == PackageStatus.VOID)
            .where(Package.status == PackageStatus.IN_REVIEW, Package.id != package_id)
            .distinct()
        )
        return sorted(rows)


def makers_of(session: Session, package: Package) -> set[str]:
    """Return who made or sent any version of a package: nobody of them may take a seat.

    Whoever they are may fill in what its metadata lacks: that approves nobody's work.
    """
    if package.purpose == Purpose.METADATA:
        return set()
    made = session.execute(
        select(Version.made_by, Version.batch_id)
        .join(PackageVersion, PackageVersion.version_id == Version.id)
        .where(PackageVersion.package_id == package.id)
    ).all()
    batches = {row.batch_id for row in made} | {package.batch_id}
    senders = session.scalars(select(Batch.sent_by).where(Batch.id.in_(batches)))
    makers = {row.made_by for row in made} | set(senders)
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

    :returns: rows of ``{"seat_id", "role", "veto", "status", "stage", "needed", "eligible", "deputies", "opens_at",
        "due_at", "reason", "signatures", "withdrawn", "delegations", "signed_by", "verdict"}``. ``status`` is one of
        :class:`~dam.catalog.models.SeatStatus`, ``needed`` counts signatures, ``deputies`` maps whoever may sign for
        somebody else now to whom; ``signatures`` are those in force (:func:`dam.review.seating.signature`), and
        ``signed_by`` and ``verdict`` those of the last of them.
    """
    with services.session() as session:
        package = session.get(Package, package_id, options=seating.SIGNED)
        return seating.told(session, package, makers_of(session, package)) if package else []


def stage_seats(services: Services, *, package_id: str, after: int = 0, upto: int | None = None) -> list[str]:
    """Return the ids of the seats of some stages, in order.

    :param after: stages after this one. :param upto: and up to this one; None: all that follow.
    """
    query = select(Seat.id).where(Seat.package_id == package_id, Seat.stage > after).order_by(Seat.ordinal)
    with services.session() as session:
        return list(session.scalars(query if upto is None else query.where(Seat.stage <= upto)))


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
    now = manifests.of(session, [entry.version_id for entry in entries], package.purpose)
    return [entry.version_id for entry in entries if manifests.sha256(now[entry.version_id]) != entry.entry_sha256]


def _gone_on(session: Session, package: Package) -> set[str]:
    """Return the package's versions that are in a later package too: it speaks for them no more."""
    rows = session.scalars(
        select(PackageVersion.version_id)
        .join(Package, Package.id == PackageVersion.package_id)
        .where(Package.batch_id == package.batch_id, Package.purpose == package.purpose)
        .where(Package.round > package.round)
    )
    return {entry.version_id for entry in package.entries} & set(rows)


def approves(session: Session, package_id: str, version_id: str) -> bool:
    """Return whether a package is approved for release, and its approval is of what one of its versions is now.

    A later package over the version takes the approval's place, whatever came of it.
    """
    if newest(session, version_id) != package_id:
        return False
    entry = session.get_one(PackageVersion, (package_id, version_id), populate_existing=True)
    released = select(Package.id).where(Package.id == package_id, Package.purpose == Purpose.RELEASE)
    approved = session.scalar(released.where(Package.status == PackageStatus.APPROVED))
    if approved is None or entry.verdict != Verdict.APPROVE:
        return False
    return manifests.sha256(manifests.of(session, [version_id])[version_id]) == entry.entry_sha256


def newest(session: Session, version_id: str) -> str | None:
    """Return the newest package that was to release a version, or to sign the brief it shows; None: it was in none."""
    return session.scalar(
        select(Package.id)
        .join(PackageVersion, PackageVersion.package_id == Package.id)
        .where(PackageVersion.version_id == version_id, Package.purpose != Purpose.METADATA)
        .order_by(Package.round.desc())
        .limit(1)
    )


def what_changed(services: Services, *, package_id: str) -> list[dict[str, Any]]:
    """Tell what differs from what a package froze: in its next round, or else in what its versions are now.

    :returns: rows of ``{"version_id", "asset", "number", "changes"}``, versions that differ only; ``changes`` holds
        sentences by part: ``bytes``, ``metadata``, ``tags``, ``rights``.
    """
    with services.session() as session:
        package = session.get(Package, package_id)
        if package is None:
            raise NotFound("there is no such package", where=package_id)
        return _differences(session, package)


def _differences(session: Session, package: Package) -> list[dict[str, Any]]:
    before: dict[str, Any] = package.manifest["versions"]
    following = next_round(session, package)
    after: dict[str, Any] = {}
    if following:
        after = dict(session.get_one(Package, following).manifest["versions"])
    gone = [version_id for version_id in before if version_id not in after]
    after = manifests.of(session, gone, package.purpose) | after
    rows = []
    for version_id, entry in before.items():
        if changes := manifests.differences(session, entry, after.get(version_id)):
            known = {"version_id": version_id, "asset": entry["asset"], "number": entry["number"]}
            rows.append(known | {"changes": changes})
    return sorted(rows, key=lambda row: (row["asset"], row["number"]))


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


def void(
    services: Services, session: Session, package: Package, *, run: str | None, why: str | None = None
) -> str | None:
    """Void a package in the transaction of ``session`` and freeze its next round.

    :param why: the reason; the default names what was changed after it was frozen.
    :returns: the next round's id; None when every version is live or gone, so that none can be reviewed.
    """
    changed = changed_versions(session, package)
    gone_on = _gone_on(session, package)
    undecided = package.status == PackageStatus.IN_REVIEW
    again = [
        entry.version_id
        for entry in package.entries
        if entry.version.state in _reviewable(package)
        and entry.version_id not in gone_on
        and (undecided or entry.verdict == Verdict.APPROVE)
    ]
    live = [entry.version_id for entry in package.entries if entry.version.state == VersionState.LIVE]
    differences = _differences(session, package)
    package.status = PackageStatus.VOID
    package.closed_at = package.closed_at or utcnow()
    package.void_reason = why or _told(differences)
    seating.close(package)
    audit.record(
        session,
        actor="airflow",
        action="package.void",
        subject_id=package.id,
        data={
            "changed": changed,
            "what_changed": differences,
            "why": package.void_reason,
            "manifest_sha256": package.manifest_sha256,
            "still_live": live,
        },
        run=run,
    )
    session.flush()
    following = _next(services, session, package, again, run)
    if package.purpose == Purpose.BRIEF and following is None:
        signing.drop(session, package, why=f"{package.void_reason[0].upper()}{package.void_reason[1:]}.", run=run)
    return following


def _reviewable(package: Package) -> frozenset[VersionState]:
    """Return the states of versions that a package's next round takes over from it."""
    return frozenset({VersionState.INGESTED}) if package.purpose == Purpose.METADATA else REVIEWABLE


def _told(differences: list[dict[str, Any]]) -> str:
    """Return one sentence on what changed, for the package's page and the audit trail."""
    said = [f"{row['asset']} v{row['number']} ({', '.join(row['changes'])})" for row in differences]
    return f"changed after it was frozen: {', '.join(said)}"


def _next(
    services: Services, session: Session, package: Package, version_ids: list[str], run: str | None
) -> str | None:
    """Freeze the next round of a package, with the same seats and for the same channels.

    :returns: its id; None when nothing is left to review. A version whose asset's newer one is in review is left.
    """
    numbers = {
        row.id: (row.asset_id, row.number)
        for row in session.execute(
            select(Version.id, Version.asset_id, Version.number).where(Version.id.in_(version_ids))
        )
    }
    for others in _open_rounds(session, version_ids, package.purpose).values():
        newer = {other.asset_id: other.number or 0 for other in others}
        version_ids = [one for one in version_ids if newer.get(numbers[one][0], 0) < (numbers[one][1] or 0)]
    if not version_ids:
        return None
    return _freeze(services, session, package.batch_id, version_ids, _Meant.by(package), run, follows=package).id


def is_left(package: Package) -> bool:
    """Return whether anything of an expired package is still to be signed: what was completed by then went on."""
    return any(entry.version.state in _reviewable(package) for entry in package.entries)


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
        if package.purpose == Purpose.BRIEF:
            signing.reopen(session, package, person=person, run=run)
        again = [entry.version_id for entry in package.entries if entry.version.state in _reviewable(package)]
        following = _next(services, session, package, again, run)
        if following is None:
            raise Refused(
                "nothing of it is left to be filled in"
                if package.purpose == Purpose.METADATA
                else "newer versions of all that it holds are being reviewed",
                where=package_id,
                remedy="Look at the review of those.",
            )
        return following


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
        meant = _Meant.by(last) if last else _Meant(Purpose.RELEASE, None, None, None)
        return _freeze(services, session, version.batch_id, [version_id], meant, run).id


def _check_reopener(services: Services, person: str, where: str) -> None:
    if not any(services.workflow.has_role(person, role) for role in REOPENERS):
        raise Refused(f"{person} may not reopen a review", where=where, remedy="Ask a marketing lead.")


# ------------------------------------------------------------------------- what waits for changes to others


def waits_for(session: Session, package: Package) -> list[str]:
    """Return the versions whose answers an approved package waits for before any of it goes out; their names.

    None while it is not approved, when the rest goes on by policy, or when somebody let it go. An answer is a later
    version of the asset that is approved.
    """
    if package.rest != "waits" or package.status != PackageStatus.APPROVED or package.released_at is not None:
        return []
    asked = [
        entry.version
        for one in _line(session, package)
        for entry in one.entries
        if entry.verdict == Verdict.REQUEST_CHANGES
    ]
    later = aliased(Version)
    answered = set(
        session.scalars(
            select(Version.id)
            .join(later, (later.asset_id == Version.asset_id) & (later.number > Version.number))
            .join(PackageVersion, PackageVersion.version_id == later.id)
            .join(Package, Package.id == PackageVersion.package_id)
            .where(Version.id.in_([version.id for version in asked]))
            .where(PackageVersion.verdict == Verdict.APPROVE, Package.status == PackageStatus.APPROVED)
            .where(Package.purpose == Purpose.RELEASE)
        )
    )
    return sorted(
        f"{version.asset.name} v{version.number}" for version in asked if version.asset and version.id not in answered
    )


def _line(session: Session, package: Package) -> list[Package]:
    """Return a package and those that it is a next round of."""
    found = [package]
    while (before := found[-1].follows_id) is not None:
        found.append(session.get_one(Package, before))
    return found


def _freed(session: Session, package: Package) -> list[str]:
    """Return the approved packages that waited for an approval of this package, and wait no more."""
    if package.status != PackageStatus.APPROVED or package.purpose != Purpose.RELEASE:
        return []
    older, mine, before = aliased(Version), aliased(Version), aliased(PackageVersion)
    asked = session.scalars(
        select(before.package_id)
        .join(older, older.id == before.version_id)
        .join(mine, (mine.asset_id == older.asset_id) & (mine.number > older.number))
        .join(PackageVersion, PackageVersion.version_id == mine.id)
        .where(PackageVersion.package_id == package.id, PackageVersion.verdict == Verdict.APPROVE)
        .where(before.verdict == Verdict.REQUEST_CHANGES)
        .distinct()
    )
    todo, found = list(asked), []
    while todo:
        one = session.get_one(Package, todo.pop())
        following = next_round(session, one)
        if following is not None:
            todo.append(following)
        waited = one.rest == "waits" and one.status == PackageStatus.APPROVED and one.id != package.id
        if waited and not waits_for(session, one):
            found.append(one.id)
    return sorted(found)


def let_go(services: Services, *, package_id: str, person: str) -> None:
    """Let what is approved of a package go out although changes to the rest are not answered; once.

    :raises Refused: it does not wait, or the person is neither marketing lead nor DAM admin.
    """
    _check_reopener(services, person, package_id)
    with services.session() as session:
        package = locked(session, package_id)
        if package.released_at is not None:
            return
        waiting = waits_for(session, package)
        if not waiting:
            raise Refused("it waits for nothing", where=f"package {package_id}")
        package.released_by, package.released_at = person, utcnow()
        audit.record(session, actor=person, action="package.let_go", subject_id=package_id, data={"without": waiting})


# ----------------------------------------------------------------------------------------------- verdict


def verdict(services: Services, *, package_id: str, run: str | None = None) -> dict[str, Any]:
    """Draw a package's verdict from its signatures, once no seat is open, and give versions their states.

    A version is approved when every seat approves it, rejected when a veto seat rejects it, and otherwise
    changes are requested. A veto seat that rejects every version ends the review at once. A seat that
    expired approves nothing. When a stage has closed and a version may still be approved, the next one opens. A
    package that changed is void.

    :returns: ``{"purpose", "brief_id", "status", "approved", "changes_requested", "rejected", "next_package_id",
        "waits_for", "freed"}``; the status is None while seats are open; the lists of verdicts hold version ids.
        ``waits_for`` names what the approved versions wait for before they go out, ``freed`` the packages that wait
        no more by this verdict.
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
            "purpose": str(package.purpose),
            "brief_id": package.brief_id,
            "status": None if open_yet else str(package.status),
            "approved": [] if follows else sorted(by_verdict.get(Verdict.APPROVE, [])),
            "changes_requested": [] if follows else sorted(by_verdict.get(Verdict.REQUEST_CHANGES, [])),
            "rejected": [] if follows else sorted(by_verdict.get(Verdict.REJECT, [])),
            "next_package_id": next_round(session, package) if follows else None,
            "waits_for": waits_for(session, package),
            "freed": _freed(session, package),
        }


def has_lapsed(seat: Seat) -> bool:
    """Return whether a seat is overdue for so long that nobody's answer can still be on its way."""
    return seat.status == SeatStatus.OPEN and seat.due_at + LAPSE <= utcnow()


def _conclude(services: Services, session: Session, package: Package, run: str | None) -> None:
    for seat in package.seats:
        if has_lapsed(seat):  # no run of Airflow waits for it, or it would have closed it
            seating.expire(session, seat, run=run)
    vetoed = verdicts.vetoed(package)
    if not vetoed and not _all_asked(services, session, package, run):
        return
    for entry in package.entries:
        entry.verdict = Verdict.REJECT if vetoed else verdicts.of_version(package, entry.version_id)
    if package.purpose == Purpose.BRIEF:
        _end_brief(services, session, package, run)
    why = f"verdict of package {package.id}, round {package.round}"
    for entry in package.entries:
        _move(session, package, entry.version, verdicts.STATE_OF[Verdict(str(entry.verdict))], why=why, run=run)
    seating.close(package)
    _close(session, package, verdicts.of_package(str(entry.verdict) for entry in package.entries), run)


def _end_brief(services: Services, session: Session, package: Package, run: str | None) -> None:
    """Sign the brief that a package is over, or send it back. One that can't be signed any more is not approved."""
    entry = package.entries[0]
    if entry.verdict != Verdict.APPROVE:
        fixes = notes.open_must_fixes(session, package_id=package.id, version_ids=[entry.version_id])
        signing.refuse(services, session, package, fixes, run=run)
    elif why_not := signing.approve(services, session, package, run=run):
        entry.verdict = Verdict.REQUEST_CHANGES
        signing.drop(session, package, why=why_not, run=run)


def _all_asked(services: Services, session: Session, package: Package, run: str | None) -> bool:
    """Return whether everybody has answered; where not, expire or void the package or open its next stage."""
    standing = {seat.status for seat in package.seats}
    if SeatStatus.OPEN in standing:
        return False
    if SeatStatus.EXPIRED in standing:
        seating.close(package)
        _close(session, package, PackageStatus.EXPIRED, run)
        if package.purpose == Purpose.BRIEF:
            signing.drop(session, package, why=signing.SILENCE, run=run)
        return False
    if changed_versions(session, package):
        void(services, session, package, run=run)
        return False
    if SeatStatus.WAITING in standing and verdicts.may_approve(package):
        opened = seating.open_next(services, package)
        audit.record(
            session,
            actor="airflow",
            action="package.stage_opened",
            subject_id=package.id,
            data={"stage": opened[0].stage, "seats": [seat.id for seat in opened]},
            run=run,
        )
        return False
    return True


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
