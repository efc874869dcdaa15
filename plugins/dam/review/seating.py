"""Who sits where: the seats that a package gets, when their stages open, and who stands in for whom."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import selectinload

from dam import audit
from dam.catalog.models import Absence, Decision, Package, Seat, SeatStatus, Version, utcnow
from dam.errors import Refused
from dam.review import conditions

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.workflow import SeatRule

#: What tells who signed which seats of packages: a few queries, however many there are.
SIGNED = (
    selectinload(Package.seats).selectinload(Seat.decisions).selectinload(Decision.withdrawal),
    selectinload(Package.seats).selectinload(Seat.delegations),
)
#: Seats that still can be, or have been, somebody's.
NEEDED = frozenset(SeatStatus) - {SeatStatus.NOT_NEEDED}


def make(
    services: Services,
    session: Session,
    package: Package,
    *,
    versions: list[Version],
    makers: set[str],
    roles: list[str] | None,
) -> None:
    """Give a package its seats, in the transaction of ``session``, and open the first stage that needs any.

    :param makers: who made or sent a version: none of their own may be theirs. :param roles: roles to ask; the
        workflow's when None.
    :raises Refused: no seat need sign, or too few people may take one.
    """
    workflow = services.workflow
    purpose = package.purpose
    rules = [workflow.seat_rule(role, purpose) for role in roles] if roles else workflow.seats_for(purpose)
    if package.brief is not None:
        known = [conditions.of_brief(package.brief)]
    else:
        known = conditions.facts(services, session, versions, channels=package.channels)
    where = f"batch {package.batch_id}"
    needed: list[tuple[SeatRule, list[str]]] = []
    for ordinal, rule in enumerate(rules):
        why_not = conditions.why_not(rule.when, known)
        eligible = [person for person in workflow.members(rule.role) if person not in makers]
        if why_not is None:
            _check_enough(rule, eligible, where)
            needed.append((rule, eligible))
        session.add(
            Seat(
                package_id=package.id,
                ordinal=ordinal,
                role=rule.role,
                veto=rule.veto,
                stage=rule.stage,
                needed=rule.signatures,
                eligible=eligible,
                status=SeatStatus.NOT_NEEDED if why_not else SeatStatus.WAITING,
                reason=why_not,
                due=rule.due,
                due_at=utcnow(),
            )
        )
    if not needed:
        raise Refused(
            "no seat need sign it, and what nobody signs is not approved",
            where=where,
            remedy="Give one seat in workflow.yaml no condition, or name the seats where it is frozen.",
        )
    _check_seatable(needed, where)
    session.flush()
    session.expire(package, ["seats"])
    open_next(services, package)


def _check_enough(rule: SeatRule, eligible: list[str], where: str) -> None:
    role = rule.role.replace("_", " ")
    if not eligible:
        raise Refused(
            f"nobody may take the seat of the {role}: its holders made these versions",
            where=where,
            remedy="Give the role to another person in workflow.yaml.",
        )
    if len(eligible) < rule.signatures:
        raise Refused(
            f"the seat of the {role} needs {rule.signatures} signatures, and only {', '.join(eligible)} may sign",
            where=where,
            remedy="Give the role to more people in workflow.yaml, or ask for fewer signatures.",
        )


def _check_seatable(needed: list[tuple[SeatRule, list[str]]], where: str) -> None:
    """Refuse a package that can't be signed, since somebody would have to sign for two seats."""
    places = [(rule.role, eligible) for rule, eligible in needed for _ in range(rule.signatures)]
    taken: dict[str, int] = {}  # person -> place

    def seat(place: int, asked: set[str]) -> bool:
        """Find somebody for a place, if need be by moving those who sit already (augmenting paths)."""
        for person in places[place][1]:
            if person not in asked:
                asked.add(person)
                if person not in taken or seat(taken[person], asked):
                    taken[person] = place
                    return True
        return False

    for place, (role, eligible) in enumerate(places):
        if not seat(place, set()):
            raise Refused(
                f"nobody is left for the seat of the {role.replace('_', ' ')}: {' and '.join(eligible)} would have to "
                "sign for another seat, too",
                where=where,
                remedy="Give one of the roles to another person in workflow.yaml.",
            )


def open_next(services: Services, package: Package) -> list[Seat]:
    """Open the seats of the earliest stage that waits, and say of the others until when they may take.

    :returns: the seats that are open now and were not before; none when no seat waits.
    """
    waiting = [seat for seat in package.seats if seat.status == SeatStatus.WAITING]
    now = moment = utcnow()
    opened: list[Seat] = []
    for stage in sorted({seat.stage for seat in waiting}):
        seats = [seat for seat in waiting if seat.stage == stage]
        for seat in seats:
            seat.due_at = services.workflow.due_at(seat.due, moment)
            if moment == now:
                seat.status, seat.opens_at, seat.reason = SeatStatus.OPEN, now, None
                opened.append(seat)
            else:
                seat.reason = "It opens when the seats before it have closed."
        moment = max(seat.due_at for seat in seats)
    return opened


def close(package: Package) -> None:
    """Close what is left of a package's seats, since the review is over."""
    for seat in package.seats:
        if seat.status in (SeatStatus.OPEN, SeatStatus.WAITING):
            seat.status, seat.reason = SeatStatus.VOID, None


def expire(session: Session, seat: Seat, *, run: str | None) -> None:
    """Close an open seat unsigned, in the transaction of ``session``."""
    seat.status = SeatStatus.EXPIRED
    audit.record(
        session,
        actor="airflow",
        action="seat.expired",
        subject_id=seat.package_id,
        data={"seat_id": seat.id, "role": seat.role},
        run=run,
    )


# --------------------------------------------------------------------------------------------- deputies


def deputies(session: Session, package: Package, makers: set[str], *, at: datetime) -> dict[str, dict[str, str]]:
    """Return who may stand in for whom, by seat.

    A deputy is named by somebody's absence or was handed the seat; nobody who made or sent a version of the package,
    or has a seat of it, is one.

    :returns: seat id → deputy → the person they stand in for.
    """
    needed = [seat for seat in package.seats if seat.status in NEEDED]
    seated = {person for seat in needed for person in seat.eligible}
    away = _away(session, seated, at)
    found: dict[str, dict[str, str]] = {}
    for seat in needed:
        named = [(row.deputy, row.person) for row in seat.delegations]
        named += [(deputy, person) for person in seat.eligible for deputy in away.get(person, [])]
        found[seat.id] = {}
        for deputy, person in named:
            if deputy not in seated | makers:
                found[seat.id].setdefault(deputy, person)
    return found


def _away(session: Session, people: set[str], at: datetime) -> dict[str, list[str]]:
    """Return the deputies of those among people who are away at a moment."""
    rows = session.execute(
        select(Absence.person, Absence.deputy)
        .where(Absence.person.in_(people), Absence.deputy.is_not(None), *covers(at))
        .order_by(Absence.id)
    )
    found: dict[str, list[str]] = {}
    for person, deputy in rows:
        found.setdefault(person, []).append(str(deputy))
    return found


def covers(at: datetime) -> tuple[Any, ...]:
    """Return the conditions under which an absence covers a moment; one that was called off ends with that."""
    return Absence.starts_at <= at, at < func.least(Absence.ends_at, func.coalesce(Absence.ended_at, Absence.ends_at))


def involved(package: Package) -> dict[str, Decision]:
    """Return the signatures in force by who is bound by them: who signed, and whom they stood in for."""
    found = {}
    for seat in package.seats:
        for decision in seat.signatures:
            for person in (decision.person, decision.on_behalf_of):
                if person is not None:
                    found[person] = decision
    return found


# --------------------------------------------------------------------------------------------- as JSON


def told(session: Session, package: Package, makers: set[str]) -> list[dict[str, Any]]:
    """Return a package's seats in order, as :func:`dam.review.packages.seats` describes them."""
    standing = deputies(session, package, makers, at=utcnow())
    return [_told(seat, standing.get(seat.id, {})) for seat in package.seats]


def _told(seat: Seat, standing: dict[str, str]) -> dict[str, Any]:
    signatures = seat.signatures
    last = signatures[-1] if signatures else None
    return {
        "seat_id": seat.id,
        "role": seat.role,
        "veto": seat.veto,
        "status": seat.status,
        "stage": seat.stage,
        "needed": seat.needed,
        "eligible": list(seat.eligible),
        "deputies": standing,
        "opens_at": seat.opens_at.isoformat() if seat.opens_at else None,
        "due_at": seat.due_at.isoformat(),
        "reason": seat.reason,
        "signatures": [signature(decision) for decision in signatures],
        "withdrawn": [
            signature(decision) | {"withdrawn_at": decision.withdrawal.withdrawn_at.isoformat()}
            for decision in seat.decisions
            if decision.withdrawal is not None
        ],
        "delegations": [
            {"person": row.person, "to": row.deputy, "why": row.why, "at": row.delegated_at.isoformat()}
            for row in seat.delegations
        ],
        "signed_by": last.person if last else None,
        "verdict": last.verdict if last else None,
    }


def signature(decision: Decision) -> dict[str, Any]:
    """Return a signature as JSON; ``condition_met`` says who ticked its condition off, and when."""
    met = decision.fulfilment
    return {
        "decision_id": decision.id,
        "person": decision.person,
        "on_behalf_of": decision.on_behalf_of,
        "verdict": decision.verdict,
        "conditions": decision.conditions,
        "condition_met": {"person": met.person, "note": met.note, "at": met.met_at.isoformat()} if met else None,
        "comment": decision.comment,
        "versions": decision.versions,
        "must_fixes": decision.must_fixes,
        "at": decision.decided_at.isoformat(),
        "via": decision.via,
        "manifest_sha256": decision.manifest_sha256,
    }
