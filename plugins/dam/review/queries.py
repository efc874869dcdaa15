"""What the board and a person's own list show."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import any_, func, literal, or_, select
from sqlalchemy.orm import joinedload

from dam.catalog.models import (
    Absence,
    Batch,
    Brief,
    Campaign,
    CreatorTask,
    Delegation,
    Package,
    PackageStatus,
    PackageVersion,
    Publication,
    Purpose,
    Seat,
    SeatStatus,
    Version,
    VersionState,
    utcnow,
)
from dam.plan import briefs
from dam.review import packages, purposes, seating
from dam.workflow import SIGNED_IN

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.services import Services

#: The stage a version is in, by its state.
STAGE_OF = {
    VersionState.RECEIVED: "ingest",
    VersionState.QUARANTINED: "ingest",
    VersionState.INGESTED: "ingest",
    VersionState.IN_REVIEW: "review",
    VersionState.CHANGES_REQUESTED: "create",
    VersionState.REJECTED: "review",
    VersionState.APPROVED: "activate",
    VersionState.LIVE: "measure",
    VersionState.WITHDRAWN: "archive",
    VersionState.ARCHIVED: "archive",
    VersionState.RESTORED: "activate",
    VersionState.DESTROYED: "archive",
}


def my_open_seats(services: Services, *, person: str) -> list[dict[str, Any]]:
    """Return the seats that wait for a person, also in somebody else's place, the most urgent first.

    :returns: rows of ``{"seat_id", "package_id", "purpose", "title", "campaign", "role", "on_behalf_of",
        "due_at", "versions", "round", "needed", "signed", "hitl"}``.
    """
    now = utcnow()
    with services.session() as session:
        stood_in_for = session.scalars(select(Absence.person).where(Absence.deputy == person, *seating.covers(now)))
        mine = [literal(one) == any_(Seat.eligible) for one in {person, *stood_in_for}]
        handed = Seat.id.in_(select(Delegation.seat_id).where(Delegation.deputy == person))
        rows = session.scalars(
            select(Seat)
            .join(Package)
            .where(Seat.status == SeatStatus.OPEN, Package.status == PackageStatus.IN_REVIEW)
            .where(or_(handed, *mine))
            .options(
                *(joinedload(Seat.package).options(one) for one in seating.SIGNED),
                joinedload(Seat.package).joinedload(Package.campaign),
                joinedload(Seat.package).joinedload(Package.batch),
                joinedload(Seat.package).joinedload(Package.brief),
            )
            .order_by(Seat.due_at, Seat.ordinal)
        ).all()
        counts = dict(
            session.execute(
                select(PackageVersion.package_id, func.count())
                .where(PackageVersion.package_id.in_({seat.package_id for seat in rows}))
                .group_by(PackageVersion.package_id)
            ).all()
        )
        return [
            {
                "seat_id": seat.id,
                "package_id": seat.package_id,
                "purpose": seat.package.purpose,
                "title": _title(seat.package, counts[seat.package_id]),
                "campaign": seat.package.campaign.name if seat.package.campaign else "",
                "role": seat.role,
                "on_behalf_of": principal or None,
                "due_at": seat.due_at.isoformat(),
                "versions": counts[seat.package_id],
                "round": seat.package.round,
                "needed": seat.needed,
                "signed": len(seat.signatures),
                "hitl": seat.hitl,
            }
            for seat in rows
            if (principal := _signs_for(session, seat, person)) is not None
        ]


def _title(package: Package, count: int) -> str:
    """Return what is to be done: ``Spring 2027: 2 versions``, or ``Fill in 2 versions of Spring 2027``."""
    what = purposes.holds(package, count)
    if package.purpose == Purpose.METADATA:
        return purposes.headline(package.purpose, purposes.source(package), "", what, package.round)
    return f"{package.campaign.name if package.campaign else 'Package'}: {what}"


def _signs_for(session: Session, seat: Seat, person: str) -> str | None:
    """Return whom a person may sign a seat for, empty for themselves; None when a rule forbids it."""
    bound = seating.involved(seat.package)
    if person in seat.eligible:
        return None if person in bound else ""
    makers = packages.makers_of(session, seat.package)
    principal = seating.deputies(session, seat.package, makers, at=utcnow())[seat.id].get(person)
    return principal if principal and person not in bound and principal not in bound else None


def board(services: Services) -> list[dict[str, Any]]:
    """Return the campaigns with what stands in each stage and who has the next move.

    :returns: rows of ``{"slug", "name", "starts_on", "ends_on", "stage_counts", "next_move"}``:
        ``stage_counts`` counts versions (briefs in plan, open tasks in create) by stage; ``next_move`` is
        ``{"stage", "who", "what", "due_at"}`` or None.
    """
    with services.session() as session:
        campaigns = session.scalars(select(Campaign).order_by(Campaign.starts_on.desc(), Campaign.slug)).all()
        states: dict[str, Counter[str]] = {}
        for campaign_id, state, count in session.execute(
            select(Batch.campaign_id, Version.state, func.count())
            .join(Version, Version.batch_id == Batch.id)
            .where(Batch.campaign_id.is_not(None), Batch.id.not_in(briefs.BATCHES))
            .group_by(Batch.campaign_id, Version.state)
        ):
            states.setdefault(str(campaign_id), Counter())[STAGE_OF[VersionState(state)]] += count
        return [
            {
                "slug": campaign.slug,
                "name": campaign.name,
                "starts_on": campaign.starts_on.isoformat(),
                "ends_on": campaign.ends_on.isoformat(),
                "stage_counts": _counts(session, campaign, states.get(campaign.id, Counter())),
                "next_move": _next_move(services, session, campaign),
            }
            for campaign in campaigns
        ]


def _counts(session: Session, campaign: Campaign, by_stage: Counter[str]) -> dict[str, int]:
    briefs = select(func.count()).select_from(Brief).where(Brief.campaign_id == campaign.id, Brief.status == "draft")
    tasks = (
        select(func.count())
        .select_from(CreatorTask)
        .where(CreatorTask.campaign_id == campaign.id, CreatorTask.status == "open")
    )
    counts = {stage: by_stage[stage] for stage in ("plan", "create", "ingest", "review", "activate", "measure")}
    counts["archive"] = by_stage["archive"]
    counts["plan"] += session.scalar(briefs) or 0
    counts["create"] = session.scalar(tasks) or 0
    return counts


def _signing(seat: Seat) -> str:
    """Return what is to be done to sign a seat."""
    if seat.package.brief is not None:
        return f"sign brief {seat.package.brief.number}"
    if seat.package.purpose == Purpose.METADATA:
        return "fill in what is missing"
    return f"sign as {seat.role.replace('_', ' ')}"


def _next_move(services: Services, session: Session, campaign: Campaign) -> dict[str, Any] | None:
    """Return what a person has to do next for a campaign, the stage nearest to live first.

    A publication that waits for its day is told only when nobody has anything to do.
    """
    workflow = services.workflow
    risky, since = session.execute(
        select(func.count(), func.min(Publication.created_at))
        .join(Version, Version.id == Publication.version_id)
        .join(Batch, Batch.id == Version.batch_id)
        .where(Batch.campaign_id == campaign.id, Publication.status == "scheduled")
        .where(Publication.risks != [], Publication.cleared_by.is_(None))
    ).one()
    if risky:
        who, due = workflow.members("digital_team"), _deadline(services, "activate", since)
        return _move("activate", who, f"clear the risks of {risky} publication{'s' if risky > 1 else ''}", due)
    seat = session.scalar(
        select(Seat)
        .join(Package)
        .where(Package.campaign_id == campaign.id, Package.status == PackageStatus.IN_REVIEW, Seat.status == "open")
        .order_by(Package.purpose == Purpose.METADATA, Seat.due_at, Seat.ordinal)
        .limit(1)
    )
    if seat is not None:
        stage = SIGNED_IN.get(seat.package.purpose, "review")
        return _move(stage, list(seat.eligible), _signing(seat), seat.due_at.isoformat())
    for package in session.scalars(
        select(Package)
        .where(Package.campaign_id == campaign.id, Package.status == PackageStatus.EXPIRED)
        .where(Package.purpose != Purpose.BRIEF)
        .order_by(Package.closed_at)
    ):
        if packages.next_round(session, package) is None and packages.is_left(package):
            who = [person for role in packages.REOPENERS for person in workflow.members(role)]
            what = f"reopen review {package.round}"
            if package.purpose == Purpose.METADATA:
                what = "ask again for what is missing"
            return _move(SIGNED_IN.get(package.purpose, "review"), who, f"{what}: nobody signed in time", None)
    waiting = session.scalar(
        select(Batch)
        .where(Batch.campaign_id == campaign.id, Batch.status == "waiting")
        .order_by(Batch.received_at)
        .limit(1)
    )
    if waiting is not None:
        due = _deadline(services, "ingest", waiting.received_at)
        return _move("ingest", workflow.members(workflow.stages["ingest"].owner), "fill in what is missing", due)
    task = session.scalar(
        select(CreatorTask)
        .where(CreatorTask.campaign_id == campaign.id, CreatorTask.status == "open")
        .order_by(CreatorTask.due_on, CreatorTask.id)
        .limit(1)
    )
    if task is not None:
        return _move("create", [task.assignee], f"deliver {task.deliverable.project}", task.due_on.isoformat())
    brief = session.scalar(select(Brief).where(Brief.campaign_id == campaign.id).order_by(Brief.number.desc()).limit(1))
    if brief is not None and brief.status == "draft":
        what = f"get brief {brief.number} ready to be signed: the run that drafted it says what lacks"
        return _move("plan", [brief.drafted_by], what, None)
    if brief is not None and brief.status == "returned":
        return _move("plan", [brief.drafted_by], f"draft brief {brief.number} again: {brief.return_reason}", None)
    scheduled = session.scalar(
        select(Publication)
        .join(Version, Version.id == Publication.version_id)
        .join(Batch, Batch.id == Version.batch_id)
        .where(Batch.campaign_id == campaign.id, Publication.status == "scheduled")
        .order_by(Publication.starts_at)
        .limit(1)
    )
    if scheduled is not None:
        who = workflow.members(workflow.stages["activate"].owner)
        return _move("activate", who, "publication starts", scheduled.starts_at.isoformat())
    return None


def _deadline(services: Services, stage: str, since: datetime) -> str:
    return (since + timedelta(hours=services.workflow.stages[stage].deadline_hours)).isoformat()


def _move(stage: str, who: list[str], what: str, due_at: str | None) -> dict[str, Any]:
    return {"stage": stage, "who": who, "what": what, "due_at": due_at}
