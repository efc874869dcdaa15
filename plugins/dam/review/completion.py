"""Packages of versions whose metadata is to be completed: what they lack, what a signature says, and what goes on.

Such a package binds the bytes of its versions alone, so that filling them in does not void it. Whether a version is
complete is not the person's word but the metadata contract's, asked at the moment of signing; the signature keeps
the contract's result and its edition, which fields were filled in, and the hash of the metadata it was given for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from dam.catalog.models import (
    AuditEvent,
    ContractResult,
    Package,
    PackageStatus,
    PackageVersion,
    Purpose,
    Seat,
    Verdict,
    Version,
    VersionState,
)
from dam.enrich import contracts
from dam.review import live, packages, seating
from dam.review import manifest as manifests

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: What an audit event is called that says how a version's metadata was changed.
DESCRIBED = "version.described"


@dataclass(frozen=True, slots=True)
class Found:
    """What the contract says of a package's versions now.

    :param complete: those that lack nothing. :param lacks: what the others lack, as sentences.
    :param gone: the state of those that are not waiting to be completed any more, like one that was merged.
    """

    complete: list[str] = field(default_factory=list)
    lacks: dict[str, list[str]] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)


def look(services: Services, *, seat_id: str, keep: bool) -> Found | None:
    """Hold the versions of a seat's package to their contract; None when it is not about metadata.

    :param keep: whether the result is kept row by row, as a signature names it.
    """
    with services.session() as session:
        package = session.scalar(select(Package).join(Seat, Seat.package_id == Package.id).where(Seat.id == seat_id))
        if package is None or package.purpose != Purpose.METADATA:
            return None
        rows = select(Version.id, Version.state).join(PackageVersion, PackageVersion.version_id == Version.id)
        states = dict(session.execute(rows.where(PackageVersion.package_id == package.id)).all())
    waiting = sorted(version_id for version_id, state in states.items() if state == VersionState.INGESTED)
    report = contracts.check_for(services, stage="ingest", version_ids=waiting, keep=keep)
    return Found(
        complete=report.complete,
        lacks={key: [fault.sentences for fault in faults] for key, faults in report.incomplete.items()},
        gone={key: str(state).replace("_", " ") for key, state in states.items() if state != VersionState.INGESTED},
    )


def answers(session: Session, package: Package, found: Found) -> dict[str, dict[str, Any]]:
    """Return what a signature says of each version: its verdict, why, and what that rests on.

    :returns: version id → ``{"verdict", "comment", "contract", "result", "filled", "metadata_sha256"}``: the
        contract's edition, the number of its kept result, the fields that were filled in since the package was
        frozen (their values are in the audit trail), and the SHA-256 of metadata, tags and rights as they are.
    """
    ids = sorted(entry.version_id for entry in package.entries)
    results = _results(session, ids)
    filled = _filled(session, package)
    described = manifests.of(session, ids)
    told: dict[str, dict[str, Any]] = {}
    for version_id in ids:
        entry = described.get(version_id, {})
        kept = {part: entry[part] for part in ("metadata", "tags", "rights") if part in entry}
        result = results.get(version_id)
        why = found.gone.get(version_id)
        told[version_id] = {
            "verdict": str(Verdict.APPROVE if version_id in found.complete else Verdict.REJECT),
            "comment": f"It is {why}." if why else " ".join(found.lacks.get(version_id, [])),
            "contract": result.suite if result else None,
            "result": result.id if result else None,
            "filled": filled.get(version_id, []),
            "metadata_sha256": manifests.sha256(kept),
        }
    return told


def _results(session: Session, version_ids: list[str]) -> dict[str, ContractResult]:
    newest = (
        select(func.max(ContractResult.id))
        .where(ContractResult.version_id.in_(version_ids), ContractResult.suite.startswith("ingest/"))
        .group_by(ContractResult.version_id)
    )
    return {row.version_id: row for row in session.scalars(select(ContractResult).where(ContractResult.id.in_(newest)))}


def filled_in(package: Package) -> Any:
    """Return the query of the audit events that say what was filled in while a package was open."""
    versions = select(PackageVersion.version_id).where(PackageVersion.package_id == package.id)
    query = select(AuditEvent).where(AuditEvent.subject_id.in_(versions), AuditEvent.action == DESCRIBED)
    query = query.where(AuditEvent.at >= package.frozen_at).order_by(AuditEvent.seq)
    return query if package.closed_at is None else query.where(AuditEvent.at <= package.closed_at)


def _filled(session: Session, package: Package) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for event in session.scalars(filled_in(package)):
        found.setdefault(event.subject_id, set()).update(event.data)
    return {version_id: sorted(names) for version_id, names in found.items()}


def completed(services: Services, *, package_id: str, run: str | None = None) -> list[str]:
    """Return the versions of a package that go on, once it is over: those that were completed.

    Of a package that nobody signed in time these are the ones that are complete by now. The contract is asked again:
    what was emptied since does not go on, nor what was merged away or sent on already. None of an open package.
    """
    with services.session() as session:
        package = session.get_one(Package, package_id)
        unsigned = package.status == PackageStatus.EXPIRED
        if package.status not in (PackageStatus.APPROVED, PackageStatus.EXPIRED):
            return []
        batch_id = package.batch_id
        ids = [entry.version_id for entry in package.entries if unsigned or entry.verdict == Verdict.APPROVE]
    return contracts.check(services, batch_id=batch_id, versions=ids, run=run).complete


def release(services: Services, *, package_id: str, run: str | None = None) -> str | None:
    """Freeze for release what a package completed, and return the id of that package; None when nothing was.

    For a package that no run of its batch hands on any more. Asked again, it answers the same package.
    """
    done = completed(services, package_id=package_id, run=run)
    with services.session() as session:
        package = session.get_one(Package, package_id)
        batch_id = package.batch_id
        ids = [entry.version_id for entry in package.entries]
        frozen = session.scalar(
            select(Package.id)
            .join(PackageVersion, PackageVersion.package_id == Package.id)
            .where(PackageVersion.version_id.in_(ids), Package.purpose == Purpose.RELEASE)
            .where(Package.status == PackageStatus.IN_REVIEW)
            .order_by(Package.round.desc())
            .limit(1)
        )
    return packages.freeze(services, batch_id=batch_id, version_ids=done, run=run) if done else frozen


def may_fill(services: Services, *, batch_id: str, person: str) -> bool:
    """Return whether a person may fill in a batch: librarian, DAM admin, or whoever may sign that it is done."""
    if any(services.workflow.has_role(person, role) for role in ("librarian", "dam_admin")):
        return True
    with services.session() as session:
        for package in session.scalars(_open(batch_id)):
            rows = seating.told(session, package, packages.makers_of(session, package))
            if any(person in row["eligible"] or person in row["deputies"] for row in rows if row["status"] == "open"):
                return True
    return False


def open_packages(services: Services, *, batch_id: str) -> list[str]:
    """Return the open packages of a batch's metadata, the first round first; those of files that came late, too."""
    with services.session() as session:
        return [package.id for package in session.scalars(_open(batch_id))]


def tell(services: Services, *, batch_id: str) -> None:
    """Tell those who look at a batch's open packages in the room that something was filled in."""
    with services.session() as session:
        for package in session.scalars(_open(batch_id)):
            told = {"package_id": package.id, "id": package.id, "kind": "package"}
            session.execute(select(func.pg_notify(live.CHANNEL, json.dumps(told))))


def waiting_batches() -> Any:
    """Return the query of the ids of batches with an open package of theirs."""
    return select(Package.batch_id).where(*_IS_OPEN)


_IS_OPEN = (Package.purpose == Purpose.METADATA, Package.status == PackageStatus.IN_REVIEW)


def _open(batch_id: str) -> Any:
    return select(Package).where(Package.batch_id == batch_id, *_IS_OPEN).order_by(Package.round)


def left(session: Session, package: Package) -> dict[str, list[str]]:
    """Return what the versions of a package lack by the newest kept check, as sentences by version id."""
    waiting = select(Version.id).join(PackageVersion, PackageVersion.version_id == Version.id)
    waiting = waiting.where(PackageVersion.package_id == package.id, Version.state == VersionState.INGESTED)
    return contracts.lacking(session, stage="ingest", version_ids=list(session.scalars(waiting)))
