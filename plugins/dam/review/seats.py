"""Seats: who may sign, the signature itself, and taking it back.

The rules hold wherever the answer is given (the room, Airflow, the command line): the person is eligible, or stands
in for somebody who is, made nothing in the package, has signed nothing else of it, for himself or for another, the
seat is open, and the package still is what was frozen. The database holds them against races as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from dam import audit
from dam.catalog.models import (
    Absence,
    Decision,
    Delegation,
    Fulfilment,
    Package,
    PackageStatus,
    Purpose,
    Seat,
    SeatStatus,
    Verdict,
    Withdrawal,
    new_id,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.plan import signing
from dam.review import annotations as notes
from dam.review import completion, packages, purposes, seating, verdicts

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services


#: Most characters of why somebody is away.
REASON = 300
#: Versions that a question about their metadata names; the room and the table show all.
SHOWN = 20


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
    comment: str = "",
    conditions: str = "",
    versions: dict[str, Any] | None = None,
) -> bool:
    """Say whether a person may give this answer now; changes nothing.

    :returns: whether it would be new; not when the person has signed the seat already.
    :raises SeatRefused: a rule forbids it. :raises PackageVoid: the package changed after it was frozen.
    :raises BadInput: the answer is none, lacks its reason, or a version is not in the package.
    """
    found = completion.look(services, seat_id=seat_id, keep=False)
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if _signed_by(seat, person):
            return False
        _check(session, seat, package, person, at=None)
        _answers(session, seat, package, found, verdict, comment, conditions, versions or {})
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
    conditions: str = "",
    versions: dict[str, Any] | None = None,
    via: str = "room",
    at: datetime | None = None,
    address: str | None = None,
    run: str | None = None,
) -> dict[str, Any]:
    """Sign a seat over the manifest's hash. The same person signing the same seat again changes nothing.

    :param verdict: ``approve``, ``request_changes`` or ``reject``, for the package. To reject takes a reason.
    :param comment: goes into the record. :param conditions: what an approval is tied to; it counts as an approval,
        and the condition stays to be seen until it is ticked off (:func:`condition_met`).
    :param versions: version id → ``{"verdict", "comment"}`` where one differs from the package's.
    :param via: ``room``, ``airflow`` or ``cli``. :param at: when the answer was given; now when ``None``.
    :param address: network address it came from, where one is known.
    :returns: ``{"decision_id", "seat_id", "package_id", "verdict", "person", "on_behalf_of", "manifest_sha256",
        "seat_status"}``; a seat that needs more signatures is still ``open``.
    :raises SeatRefused: a rule forbids it. :raises PackageVoid: the package changed; the next round is frozen.
    :raises BadInput: as :func:`check_decision`.
    """
    found = completion.look(services, seat_id=seat_id, keep=True)
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if (given := _signed_by(seat, person)) is not None:
            return _told(given)
        on_behalf_of = _check(session, seat, package, person, at=at)
        answers = _answers(session, seat, package, found, verdict, comment, conditions, versions or {})
        if packages.changed_versions(session, package):
            following: str | None = packages.void(services, session, package, run=run)
        else:
            following = None
            decision = Decision(
                id=new_id("dec"),
                seat_id=seat.id,
                package_id=package.id,
                manifest_sha256=package.manifest_sha256,
                person=person,
                on_behalf_of=on_behalf_of,
                role=seat.role,
                verdict=Verdict(verdict),
                conditions=conditions.strip(),
                comment=comment,
                versions=answers,
                via=via,
                address=address,
                decided_at=at or utcnow(),
            )
            decision.must_fixes = _must_fixes(session, package, decision)
            session.add(decision)
            session.flush()
            session.expire(seat, ["decisions"])
            if len(seat.signatures) >= seat.needed:
                seat.status = SeatStatus.SIGNED
            _record(session, decision, seat, run)
            return _told(decision)
    raise PackageVoid(package.id, following)


def _must_fixes(session: Session, package: Package, decision: Decision) -> list[Any]:
    """Return the must-fix remarks that are open on the versions of which a signature asks for changes."""
    asked = [
        entry.version_id
        for entry in package.entries
        if verdicts.said(decision, entry.version_id) == Verdict.REQUEST_CHANGES
    ]
    return notes.open_must_fixes(session, package_id=package.id, version_ids=asked) if asked else []


def _record(session: Session, decision: Decision, seat: Seat, run: str | None) -> None:
    audit.record(
        session,
        actor=decision.person,
        action="seat.signed",
        subject_id=decision.package_id,
        data={
            "decision_id": decision.id,
            "seat_id": seat.id,
            "role": seat.role,
            "on_behalf_of": decision.on_behalf_of,
            "verdict": decision.verdict,
            "conditions": decision.conditions,
            "comment": decision.comment,
            "versions": decision.versions,
            "must_fixes": decision.must_fixes,
            "manifest_sha256": decision.manifest_sha256,
            "via": decision.via,
            "address": decision.address,
        },
        run=run,
    )


def undo(
    services: Services,
    *,
    seat_id: str,
    person: str,
    via: str = "room",
    address: str | None = None,
    run: str | None = None,
) -> dict[str, Any]:
    """Take one's own signature back, until the seat is closed: a later stage is open, or the package has its verdict.

    :param address: network address it came from, where one is known.
    :returns: ``{"seat_id", "package_id", "decision_id", "verdict", "seat_status"}`` of what was taken back.
    :raises SeatRefused: there is no signature of the person's on it, or the seat is closed.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        decision = _to_take_back(seat, package, person)
        session.add(Withdrawal(decision_id=decision.id, person=person, via=via))
        if seat.status == SeatStatus.SIGNED:
            seat.status = SeatStatus.OPEN
        audit.record(
            session,
            actor=person,
            action="seat.withdrawn",
            subject_id=package.id,
            data={"decision_id": decision.id, "seat_id": seat.id, "role": seat.role, "verdict": decision.verdict,
                  "manifest_sha256": decision.manifest_sha256, "via": via, "address": address},
            run=run,
        )  # fmt: skip
        return {
            "seat_id": seat.id,
            "package_id": package.id,
            "decision_id": decision.id,
            "verdict": decision.verdict,
            "seat_status": str(seat.status),
        }


def may_undo(services: Services, *, seat_id: str, person: str) -> bool:
    """Return whether a person could take a signature on a seat back now."""
    with services.session() as session:
        seat = _known(session, seat_id)
        try:
            _to_take_back(seat, seat.package, person)
        except SeatRefused:
            return False
        return True


def _to_take_back(seat: Seat, package: Package, person: str) -> Decision:
    """Return the signature that a person may take back. :raises SeatRefused: there is none, or the seat is closed."""
    decision = _signed_by(seat, person)
    where = f"seat {seat.id}"
    if decision is None:
        raise SeatRefused(f"{person} has not signed this seat", where=where)
    if package.status != PackageStatus.IN_REVIEW:
        raise PackageClosed(
            f"the review is over: {package.status}", where=f"package {package.id}", remedy="Ask a marketing lead."
        )
    if any(other.stage > seat.stage and other.opens_at is not None for other in package.seats):
        raise SeatRefused(
            "the seat is closed: those after it decide by its signatures already",
            where=where,
            remedy="Tell them, or ask for changes at the next round.",
        )
    return decision


def condition_met(services: Services, *, decision_id: str, person: str, note: str = "") -> None:
    """Tick off the condition of a conditional approval; one that is ticked off already is left as it is.

    :raises SeatRefused: the person neither set it nor may take its seat.
    :raises BadInput: the signature has no condition, or was taken back. :raises NotFound: there is none.
    """
    with services.session() as session:
        decision = session.get(Decision, decision_id)
        if decision is None:
            raise NotFound("there is no such signature", where=decision_id)
        packages.locked(session, decision.package_id)
        if not decision.conditions or decision.withdrawal is not None:
            raise BadInput("there is no condition to be met", where=f"signature {decision_id}")
        seat = decision.seat
        if person not in {decision.person, decision.on_behalf_of, *seat.eligible}:
            raise SeatRefused(
                f"{person} may not say that the condition is met",
                where=f"signature {decision_id}",
                remedy=f"Ask {decision.person}.",
            )
        session.refresh(decision, ["fulfilment"])
        if decision.fulfilment is not None:
            return
        session.add(Fulfilment(decision_id=decision_id, person=person, note=note))
        audit.record(
            session,
            actor=person,
            action="condition.met",
            subject_id=decision.package_id,
            data={"decision_id": decision_id, "conditions": decision.conditions, "note": note},
        )


def expire(services: Services, *, seat_id: str, run: str | None = None) -> None:
    """Close a seat that nobody signed in time; a signed one stays signed. Silence never approves."""
    with services.session() as session:
        seat, _ = _seat(session, seat_id)
        if seat.status == SeatStatus.OPEN:
            seating.expire(session, seat, run=run)


# --------------------------------------------------------------------------------------------- standing in


def delegate(services: Services, *, seat_id: str, person: str, to: str, why: str) -> None:
    """Hand one's seat of one package to somebody else; who hands it on may still sign, but not both.

    :raises SeatRefused: the seat is closed, the person may not take it or has signed, or ``to`` may not stand in:
        they made or sent a version of the package, or have a seat of it.
    :raises BadInput: there is no reason, or nobody of that name.
    """
    if not why.strip():
        raise BadInput("a seat is handed on for a reason", where="why", remedy="Say why.")
    _check_known(services, to)
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        where = f"seat {seat.id}"
        if package.status != PackageStatus.IN_REVIEW or seat.status not in (SeatStatus.OPEN, SeatStatus.WAITING):
            raise SeatRefused(f"the seat is {seat.status}", where=where)
        if person not in seat.eligible:
            raise SeatRefused(f"{person} may not take this seat, and so can't hand it on", where=where)
        bound = seating.involved(package)
        for one in (person, to):
            if one in bound:
                raise SeatRefused(f"{one} has signed this package already", where=where)
        if to in packages.makers_of(session, package):
            raise SeatRefused(f"{to} made or sent a version of this package", where=where, remedy="Name another.")
        if any(to in other.eligible for other in package.seats if other.status in seating.NEEDED):
            raise SeatRefused(f"{to} has a seat of this package", where=where, remedy="Name another.")
        if any((row.person, row.deputy) == (person, to) for row in seat.delegations):
            return
        session.add(Delegation(seat_id=seat.id, person=person, deputy=to, why=why))
        audit.record(
            session,
            actor=person,
            action="seat.delegated",
            subject_id=package.id,
            data={"seat_id": seat.id, "role": seat.role, "to": to, "why": why},
        )


def away(
    services: Services,
    *,
    person: str,
    start: datetime,
    until: datetime,
    deputy: str | None = None,
    reason: str = "",
    by: str | None = None,
) -> str:
    """Enter that somebody is away, and who takes their seats meanwhile; return the absence's id.

    :param start: first moment, aware. :param until: the moment they are back. :param by: who enters it; the person.
    :param reason: told to nobody but the person and those who may enter it, and so not in the audit trail.
    :raises BadInput: the times are the wrong way round or in the past, the reason is too long, or nobody has that name.
    :raises Refused: it is entered for somebody else by somebody who is neither DAM admin nor told when nobody signs
        (``reminders.escalate`` of the workflow), or who names themselves as the deputy.
    """
    entered_by = by or person
    _check_own(services, entered_by, person)
    if entered_by != person and deputy == entered_by:
        raise Refused(
            f"{entered_by} may not take the seats of {person} by their own word",
            where="deputy",
            remedy="Name somebody else.",
        )
    for name in filter(None, (person, deputy)):
        _check_known(services, name)
    if deputy == person:
        raise BadInput("nobody stands in for himself", where="deputy", remedy="Name another, or nobody.")
    if start.tzinfo is None or until.tzinfo is None:
        raise BadInput("a time needs its zone", where="from, until", remedy="Write it like 2027-03-01T00:00:00+01:00.")
    if until <= start or until <= utcnow():
        raise BadInput("an absence ends after it begins, and not in the past", where="until")
    if len(reason) > REASON:
        raise BadInput(f"a reason has {REASON} characters at most", where="reason", remedy="Say it in a sentence.")
    with services.session() as session:
        made = Absence(
            id=new_id("abs"),
            person=person,
            deputy=deputy,
            reason=reason.strip(),
            starts_at=start,
            ends_at=until,
            entered_by=entered_by,
        )
        session.add(made)
        data = {"person": person, "deputy": deputy, "from": start.isoformat(), "until": until.isoformat()}
        audit.record(session, actor=entered_by, action="absence.entered", subject_id=made.id, data=data)
        return made.id


def back(services: Services, *, absence_id: str, by: str) -> None:
    """Call an absence off: it ends now. One that has ended is left as it is.

    :raises NotFound: there is none. :raises Refused: it is somebody else's, and the person is no DAM admin.
    """
    with services.session() as session:
        found = session.get(Absence, absence_id, with_for_update=True)
        if found is None:
            raise NotFound("there is no such absence", where=absence_id)
        _check_own(services, by, found.person)
        if found.ended_at is None and found.ends_at > utcnow():
            found.ended_at, found.ended_by = utcnow(), by
            audit.record(session, actor=by, action="absence.ended", subject_id=absence_id)


def absences(services: Services, *, person: str | None = None, at: datetime | None = None) -> list[dict[str, Any]]:
    """Return who is or will be away, the first to leave first.

    :param person: who asks. :returns: rows of ``{"absence_id", "person", "deputy", "from", "until", "entered_by",
        "reason", "may_end"}``; ``reason`` is empty for who may not read it, ``may_end`` whether they may call it off.
    """
    now = at or utcnow()
    all_of_them = person is not None and may_enter_for_others(services, person)
    with services.session() as session:
        rows = session.scalars(
            select(Absence)
            .where(Absence.ends_at > now, Absence.ended_at.is_(None))
            .order_by(Absence.starts_at, Absence.id)
        )
        return [
            {
                "absence_id": row.id,
                "person": row.person,
                "deputy": row.deputy,
                "from": row.starts_at.isoformat(),
                "until": row.ends_at.isoformat(),
                "entered_by": row.entered_by,
                "reason": row.reason if all_of_them or row.person == person else "",
                "may_end": all_of_them or row.person == person,
            }
            for row in rows
        ]


def minders(services: Services) -> list[str]:
    """Return the roles that may enter and call off others' absences: DAM admins, and who is told of silence."""
    escalate = services.workflow.reminders.escalate
    return list(dict.fromkeys(["dam_admin", *([escalate.to] if escalate else [])]))


def may_enter_for_others(services: Services, person: str) -> bool:
    """Return whether a person may enter and call off others' absences."""
    return any(services.workflow.has_role(person, role) for role in minders(services))


def deputies(services: Services) -> list[str]:
    """Return who can be named as a deputy: everybody who does more than read, by name.

    Whether they may then stand in for a seat of a package is another matter: see :func:`dam.review.seating.deputies`.
    """
    people = services.workflow.people.values()
    return [one.username for one in sorted(people, key=lambda one: one.name) if set(one.roles) != {"viewer"}]


def _check_known(services: Services, name: str) -> None:
    if name not in services.workflow.people:
        known = ", ".join(services.workflow.people)
        raise BadInput(f"nobody is called {name!r}", where="workflow.yaml", remedy=f"There are: {known}.")


def _check_own(services: Services, by: str, person: str) -> None:
    if by != person and not may_enter_for_others(services, by):
        raise Refused(f"{by} may not enter when {person} is away", where="absence", remedy=f"Ask {person}.")


# ------------------------------------------------------------------------------------------------ Airflow


def attach(services: Services, *, seat_id: str, hitl: dict[str, Any]) -> dict[str, Any]:
    """Note where Airflow waits for a seat, and return what its question shows.

    :param hitl: ``{"dag_id", "run_id", "task_id", "map_index"}``.
    :returns: ``{"seat_id", "package_id", "purpose", "batch_id", "role", "status", "eligible", "deputies",
        "may_sign", "reason", "due_at", "signed", "needed", "subject", "summary"}``; ``may_sign`` lists
        the eligible and their deputies who are not bound by a signature yet, ``signed`` of the ``needed`` signatures
        are there, ``summary`` is Markdown.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if seat.status in (SeatStatus.OPEN, SeatStatus.WAITING):
            seat.hitl = hitl
        makers = packages.makers_of(session, package)
        standing = seating.deputies(session, package, makers, at=utcnow()).get(seat.id, {})
        bound = seating.involved(package)
        return {
            "seat_id": seat.id,
            "package_id": package.id,
            "purpose": package.purpose,
            "batch_id": package.batch_id,
            "role": seat.role,
            "status": seat.status,
            "eligible": list(seat.eligible),
            "deputies": standing,
            "may_sign": [person for person in [*seat.eligible, *standing] if person not in bound],
            "reason": seat.reason,
            "due_at": seat.due_at.isoformat(),
            "signed": len(seat.signatures),
            "needed": seat.needed,
            "subject": purposes.headline(
                package.purpose,
                purposes.source(package),
                seat.role,
                purposes.holds(package, len(package.entries)),
                package.round,
            ),
            "summary": "\n".join([f"Manifest `{package.manifest_sha256}`", "", *_summary(services, session, package)]),
        }


def _summary(services: Services, session: Session, package: Package) -> list[str]:
    """Return lines of Markdown: a brief's text, or for each version its title, or what is to be filled in of it."""
    if package.brief is not None:
        return signing.read(services, package.brief)
    rows = [
        (f"**{entry['asset']}** v{entry['number']}", version_id, entry)
        for version_id, entry in package.manifest["versions"].items()
    ]
    if package.purpose != Purpose.METADATA:
        return [f"- {name}: {entry['metadata'].get('title') or 'untitled'}" for name, _, entry in rows]
    left = completion.left(session, package)
    lines = [f"- {name}: {' '.join(left.get(version_id, ['complete']))}" for name, version_id, _ in rows[:SHOWN]]
    return [*lines, f"- and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else lines


def hitl_of(services: Services, *, seat_id: str) -> dict[str, Any] | None:
    """Return where Airflow waits for an unsigned seat, as :func:`attach` was told; None when it does not."""
    with services.session() as session:
        seat, _ = _seat(session, seat_id)
        return dict(seat.hitl) if seat.hitl and seat.status != SeatStatus.SIGNED else None


def asked_at(services: Services, *, seat_id: str) -> dict[str, Any] | None:
    """Return where Airflow asked for a seat last, signed or not; None when it never did."""
    with services.session() as session:
        place = _known(session, seat_id).hitl
        return dict(place) if place else None


def status(services: Services, *, seat_id: str) -> str:
    """Return a seat's status."""
    with services.session() as session:
        return str(_known(session, seat_id).status)


def purpose(services: Services, *, seat_id: str) -> str:
    """Return what a seat's signature is for."""
    with services.session() as session:
        return str(session.get_one(Package, _known(session, seat_id).package_id).purpose)


def needed(services: Services, *, seat_id: str) -> int:
    """Return how many signatures a seat needs."""
    with services.session() as session:
        return _known(session, seat_id).needed


def left_waiting(services: Services, *, seat_id: str) -> list[dict[str, Any]]:
    """Return where Airflow asked for the other seats of this seat's package, once the package is closed.

    A veto or a void package ends a review before everybody has signed, and a signature may be given where no task
    hears it; nobody need be asked then.
    """
    with services.session() as session:
        seat, package = _seat(session, seat_id)
        if package.status == PackageStatus.IN_REVIEW:
            return []
        return [dict(other.hitl) for other in package.seats if other.id != seat.id and other.hitl]


def package_of(services: Services, *, seat_id: str) -> str:
    """Return the id of a seat's package."""
    with services.session() as session:
        return _seat(session, seat_id)[1].id


# ------------------------------------------------------------------------------------------------ helpers


def _known(session: Session, seat_id: str) -> Seat:
    """Return a seat to look at: whoever signs meanwhile need not wait."""
    seat = session.get(Seat, seat_id)
    if seat is None:
        raise NotFound("there is no such seat", where=seat_id)
    return seat


def _seat(session: Session, seat_id: str) -> tuple[Seat, Package]:
    """Return a seat and its package, the package's row locked so that signatures come one by one."""
    package = packages.locked(session, _known(session, seat_id).package_id)
    return session.get_one(Seat, seat_id, populate_existing=True), package


def _signed_by(seat: Seat, person: str) -> Decision | None:
    """Return the signature in force that a person gave on a seat."""
    return next((decision for decision in seat.signatures if decision.person == person), None)


def _check(session: Session, seat: Seat, package: Package, person: str, *, at: datetime | None) -> str | None:
    """Raise what forbids a person to sign, if anything does; return whom they stand in for, None for themselves."""
    where = f"seat {seat.id}"
    _check_open(session, seat, package, where, at or utcnow())
    if at is not None and (taken_back := _taken_back(seat, person)) is not None and at <= taken_back:
        raise SeatRefused(f"{person} took this answer back", where=where, remedy="Answer again.")
    makers = packages.makers_of(session, package)
    if person in makers:
        raise SeatRefused(
            f"{person} made or sent a version of this package", where=where, remedy="Somebody else must sign."
        )
    standing = seating.deputies(session, package, makers, at=at or utcnow())[seat.id]
    on_behalf_of = None if person in seat.eligible else standing.get(person)
    if person not in seat.eligible and on_behalf_of is None:
        raise SeatRefused(
            f"{person} may not take the seat of the {seat.role.replace('_', ' ')}",
            where=where,
            remedy=f"It is for: {', '.join([*seat.eligible, *standing])}.",
        )
    bound = seating.involved(package)
    for one in filter(None, (person, on_behalf_of)):
        if one in bound:
            raise SeatRefused(
                f"{one} has signed as {bound[one].role.replace('_', ' ')} already"
                + (f", by {bound[one].person}" if bound[one].person != one else ""),
                where=where,
                remedy="Nobody takes two seats of one package, or signs it twice.",
            )
    return on_behalf_of


def _check_open(session: Session, seat: Seat, package: Package, where: str, now: datetime) -> None:
    if package.status == PackageStatus.VOID:
        raise PackageVoid(package.id, packages.next_round(session, package))
    if package.status != PackageStatus.IN_REVIEW:
        raise PackageClosed(f"the review is over: {package.status}", where=f"package {package.id}")
    if seat.status == SeatStatus.SIGNED:
        signers = " and ".join(decision.person for decision in seat.signatures)
        raise SeatRefused(f"{signers} {'has' if seat.needed == 1 else 'have'} signed this seat already", where=where)
    if seat.status in (SeatStatus.WAITING, SeatStatus.NOT_NEEDED):
        raise SeatRefused(f"the seat is {seat.status.replace('_', ' ')}: {seat.reason}", where=where)
    if seat.status != SeatStatus.OPEN:
        raise SeatRefused(f"the seat is {seat.status}", where=where)
    if seat.due_at <= now:
        raise SeatRefused(
            f"the seat was to be signed by {seat.due_at.astimezone(UTC):%-d %B %Y, %H:%M} UTC",
            where=where,
            remedy="A marketing lead can ask again.",
        )


def _taken_back(seat: Seat, person: str) -> datetime | None:
    """Return when a person last took a signature on a seat back."""
    found = [row.withdrawal.withdrawn_at for row in seat.decisions if row.withdrawal and row.person == person]
    return max(found, default=None)


def _answers(
    session: Session,
    seat: Seat,
    package: Package,
    found: completion.Found | None,
    verdict: str,
    comment: str,
    conditions: str,
    versions: dict[str, Any],
) -> dict[str, Any]:
    """Return what is said of single versions: what the person gives, or what the metadata contract says of them.

    :param found: of a package whose metadata is completed; else None.
    :raises SeatRefused: something is still missing. :raises BadInput: as :func:`check_decision`.
    """
    if found is None:
        _check_answer(seat, package, verdict, comment, conditions, versions)
        return versions
    where, known = f"package {package.id}", purposes.words(package.purpose).answers
    if verdict not in known:
        raise BadInput(f"{verdict!r} is no answer here", where=where, remedy=f"Use: {', '.join(known)}.")
    if versions or conditions.strip():
        raise BadInput(
            "whether a version is complete is for its contract to say, one by one and without conditions",
            where=where,
            remedy="Fill in what is missing, or leave the rest out.",
        )
    if verdict == Verdict.APPROVE and found.lacks:
        count = len(found.lacks)
        raise SeatRefused(
            f"{count} versions are still incomplete" if count > 1 else "1 version is still incomplete",
            where=where,
            remedy="Fill in what is missing, or leave the rest out.",
        )
    return completion.answers(session, package, found)


def _check_answer(
    seat: Seat, package: Package, verdict: str, comment: str, conditions: str, versions: dict[str, Any]
) -> None:
    known = {entry.version_id for entry in package.entries}
    for version_id, answer in versions.items():
        if version_id not in known:
            raise BadInput("is not in this package", where=f"version {version_id}")
        if not isinstance(answer, dict) or answer.get("verdict") not in set(Verdict):
            raise BadInput(f"{answer!r} is no verdict", where=f"version {version_id}", remedy=_VERDICTS)
    where = f"seat {seat.id}"
    if verdict not in set(Verdict):
        raise BadInput(f"{verdict!r} is no verdict", where=where, remedy=_VERDICTS)
    said = {version_id: versions.get(version_id, {"verdict": verdict}) for version_id in known}
    for version_id, answer in said.items():
        if answer["verdict"] == Verdict.REJECT and not (answer.get("comment") or comment).strip():
            raise BadInput("to reject takes a reason", where=f"version {version_id}", remedy="Say why in the comment.")
    if conditions.strip() and all(answer["verdict"] != Verdict.APPROVE for answer in said.values()):
        raise BadInput(
            "only an approval has conditions", where=where, remedy="Approve, or write what must change as a comment."
        )


_VERDICTS = f"Use: {', '.join(Verdict)}."


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "decision_id": decision.id,
        "seat_id": decision.seat_id,
        "package_id": decision.package_id,
        "verdict": decision.verdict,
        "person": decision.person,
        "on_behalf_of": decision.on_behalf_of,
        "manifest_sha256": decision.manifest_sha256,
        "seat_status": str(decision.seat.status),
    }
