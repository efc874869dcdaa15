"""Seats: who may sign, and the signature itself.

The rules hold wherever the answer is given (the room, Airflow, the command line): the person is eligible,
made nothing in the package, has no other seat of it, the seat is open, and the package still is what was
frozen. The database holds the last two against races as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dam import audit
from dam.catalog.models import Decision, Package, PackageStatus, Seat, Verdict, utcnow
from dam.errors import BadInput, NotFound, Refused
from dam.review import packages

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


class SeatRefused(Refused):
    """A rule forbids the person to sign the seat now."""


class PackageClosed(SeatRefused):
    """The review is over."""


class PackageVoid(SeatRefused):
    """The package is not what was frozen; ``next_package_id`` is the next round."""

    def __init__(self, package_id: str, next_package_id: str | None) -> None:
        self.next_package_id = next_package_id
        super().__init__(
            "something in the package was changed after it was frozen, so it can't be signed any more",
            where=f"package {package_id}",
            remedy=f"Look at the next round: {next_package_id}." if next_package_id else "A next round is being made.",
        )


def check_decision(
    services: Services,
    *,
    seat_id: str,
    person: str,
    verdict: str,
    versions: dict[str, Any] | None = None,
) -> bool:
    """Say whether a person may give this answer now; changes nothing.

    :returns: whether it would be new; not when the person has signed the seat already.
    :raises SeatRefused: a rule forbids it. :raises PackageVoid: the package changed after it was frozen.
    :raises BadInput: the verdict is none, or a version is not in the package.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if _signed_by(seat, person):
            return False
        _check(session, seat, package, person, verdict, versions or {})
        if packages.changed_versions(session, package):
            raise PackageVoid(package.id, None)
        return True


def decide(
    services: Services,
    *,
    seat_id: str,
    person: str,
    verdict: str,
    comment: str = "",
    versions: dict[str, Any] | None = None,
    via: str = "room",
    address: str | None = None,
    at: datetime | None = None,
    run: str | None = None,
) -> dict[str, Any]:
    """Sign a seat over the manifest's hash. The same person signing the same seat again changes nothing.

    :param verdict: ``approve``, ``request_changes`` or ``reject``, for the package.
    :param versions: version id → ``{"verdict", "comment"}`` where one differs from the package's.
    :param via: ``room``, ``airflow`` or ``cli``. :param at: when the answer was given; now when ``None``.
    :param address: the network address it came from, where one is known.
    :returns: ``{"decision_id", "seat_id", "package_id", "verdict", "person", "manifest_sha256"}``.
    :raises SeatRefused: a rule forbids it. :raises PackageVoid: the package changed; the next round is frozen.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if _signed_by(seat, person) and seat.decision is not None:
            return _told(seat.decision)
        _check(session, seat, package, person, verdict, versions or {}, at=at)
        if packages.changed_versions(session, package):
            following: str | None = packages.void(services, session, package, run=run)
        else:
            following = None
            decision = Decision(
                seat_id=seat.id,
                package_id=package.id,
                manifest_sha256=package.manifest_sha256,
                person=person,
                role=seat.role,
                verdict=Verdict(verdict),
                comment=comment,
                versions=versions or {},
                via=via,
                address=address,
            )
            session.add(decision)
            seat.status = "signed"
            session.flush()
            audit.record(
                session,
                actor=person,
                action="seat.signed",
                subject_id=package.id,
                data={
                    "seat_id": seat.id,
                    "role": seat.role,
                    "verdict": verdict,
                    "comment": comment,
                    "versions": versions or {},
                    "manifest_sha256": package.manifest_sha256,
                    "via": via,
                    "address": address,
                },
                run=run,
            )
            return _told(decision)
    raise PackageVoid(package.id, following)


def expire(services: Services, *, seat_id: str, run: str | None = None) -> None:
    """Close a seat that nobody signed in time; a signed one stays signed. Silence never approves."""
    with services.session() as session:
        seat, _ = _seat(session, seat_id)
        if seat.status == "open":
            packages.expire(session, seat, run=run)


def attach(services: Services, *, seat_id: str, hitl: dict[str, Any]) -> dict[str, Any]:
    """Note where Airflow waits for a seat, and return what its question shows.

    :param hitl: ``{"dag_id", "run_id", "task_id", "map_index"}``.
    :returns: ``{"seat_id", "package_id", "role", "status", "eligible", "due_at", "subject", "summary"}``;
        ``summary`` is Markdown.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if seat.status == "open":
            seat.hitl = hitl
        role = seat.role.replace("_", " ")
        campaign = package.campaign.name if package.campaign else "no campaign"
        lines = [
            f"- **{entry['asset']}** v{entry['number']}: {entry['metadata'].get('title') or 'untitled'}"
            for entry in package.manifest["versions"].values()
        ]
        return {
            "seat_id": seat.id,
            "package_id": package.id,
            "role": seat.role,
            "status": seat.status,
            "eligible": list(seat.eligible),
            "due_at": seat.due_at.isoformat(),
            "subject": f"{campaign}: {len(lines)} versions for the {role}, round {package.round}",
            "summary": "\n".join([f"Manifest `{package.manifest_sha256}`", "", *lines]),
        }


def hitl_of(services: Services, *, seat_id: str) -> dict[str, Any] | None:
    """Return where Airflow waits for an unsigned seat, as :func:`attach` was told; None when it does not."""
    with services.session() as session:
        seat, _ = _seat(session, seat_id)
        return dict(seat.hitl) if seat.hitl and seat.status != "signed" else None


def left_waiting(services: Services, *, seat_id: str) -> list[dict[str, Any]]:
    """Return where Airflow still waits for other seats of this seat's package, once the package is closed.

    A veto or a void package ends a review before everybody has signed; nobody need be asked then.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if package.status == PackageStatus.IN_REVIEW:
            return []
        return [
            dict(other.hitl) for other in package.seats if other.id != seat.id and other.hitl and not other.decision
        ]


def package_of(services: Services, *, seat_id: str) -> str:
    """Return the id of a seat's package."""
    with services.session() as session:
        return _seat(session, seat_id)[1].id


# ------------------------------------------------------------------------------------------------ helpers


def _seat(session: Session, seat_id: str) -> tuple[Seat, Package]:
    """Return a seat and its package, the package's row locked so that signatures come one by one."""
    package_id = session.scalar(select(Seat.package_id).where(Seat.id == seat_id))
    if package_id is None:
        raise NotFound("there is no such seat", where=seat_id)
    package = packages.locked(session, package_id)
    return session.get_one(Seat, seat_id, populate_existing=True), package


def _signed_by(seat: Seat, person: str) -> bool:
    return seat.decision is not None and seat.decision.person == person


def _check(
    session: Session,
    seat: Seat,
    package: Package,
    person: str,
    verdict: str,
    versions: dict[str, Any],
    *,
    at: datetime | None = None,
) -> None:
    """Raise what forbids this answer, if anything does."""
    where = f"seat {seat.id}"
    if package.status == PackageStatus.VOID:
        raise PackageVoid(package.id, packages.next_round(session, package))
    if package.status != PackageStatus.IN_REVIEW:
        raise PackageClosed(f"the review is over: {package.status}", where=f"package {package.id}")
    if seat.status == "signed" and seat.decision is not None:
        raise SeatRefused(f"{seat.decision.person} has signed this seat already", where=where)
    if seat.status != "open":
        raise SeatRefused(f"the seat is {seat.status}", where=where)
    if seat.due_at <= (at or utcnow()):
        raise SeatRefused(
            f"the seat was to be signed by {seat.due_at.astimezone(UTC):%-d %B %Y, %H:%M} UTC",
            where=where,
            remedy="A marketing lead can ask again.",
        )
    if person in packages.makers_of(session, package):
        raise SeatRefused(
            f"{person} made or sent a version of this package", where=where, remedy="Somebody else must sign."
        )
    if person not in seat.eligible:
        raise SeatRefused(
            f"{person} may not take the seat of the {seat.role.replace('_', ' ')}",
            where=where,
            remedy=f"It is for: {', '.join(seat.eligible)}.",
        )
    other = session.scalar(select(Decision).where(Decision.package_id == package.id, Decision.person == person))
    if other is not None:
        raise SeatRefused(
            f"{person} has signed as {other.role.replace('_', ' ')} already",
            where=where,
            remedy="Nobody takes two seats of one package.",
        )
    _check_answer(seat, package, verdict, versions)


def _check_answer(seat: Seat, package: Package, verdict: str, versions: dict[str, Any]) -> None:
    known = {entry.version_id for entry in package.entries}
    for version_id, answer in versions.items():
        if version_id not in known:
            raise BadInput("is not in this package", where=f"version {version_id}")
        if not isinstance(answer, dict) or answer.get("verdict") not in set(Verdict):
            raise BadInput(f"{answer!r} is no verdict", where=f"version {version_id}", remedy=_VERDICTS)
    if verdict not in set(Verdict):
        raise BadInput(f"{verdict!r} is no verdict", where=f"seat {seat.id}", remedy=_VERDICTS)


_VERDICTS = f"Use: {', '.join(Verdict)}."


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "decision_id": decision.id,
        "seat_id": decision.seat_id,
        "package_id": decision.package_id,
        "verdict": decision.verdict,
        "person": decision.person,
        "manifest_sha256": decision.manifest_sha256,
    }
