"""What the people of a seat are mailed: that it is theirs to sign, reminders around its deadline, the escalation.

Who asks for a seat's signatures calls :func:`tell_opened` for it. A tick (:func:`remind`, every quarter of an hour)
does three things:

1. It *claims*: for each seat the one mark of the policy that is due now becomes a row for each person, in one
   transaction. A mark that was missed is not made up for; after an outage people hear of the latest only.
2. It *sends* what is claimed, row by row under the row's lock. A tick that is killed leaves its rows to the next,
   so everything is sent at least once; only a kill between the server's "taken" and our own note sends it twice,
   and then under the same Message-ID. What is not to be told any more by then (signed, superseded) is dropped.
3. It *takes back* the calendar entries of seats that closed before their deadline.

Nothing here signs, extends or approves. Only seats around their deadline are read, by ``ix_seats_unsigned``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from dam import audit, chat, mail
from dam.catalog.models import (
    DeadlineInvitation,
    Decision,
    Guest,
    Package,
    PackageStatus,
    Reminder,
    Seat,
    SeatStatus,
    new_id,
    utcnow,
)
from dam.errors import BadInput
from dam.review import deadlines, guests, messages, packages
from dam.review.reminder_policy import Mark

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from dam.services import Services

log = logging.getLogger(__name__)

#: Who a message to the chat room is for, in the record.
CHAT = "#chat"
#: Who was asked so short a time ago needs no reminder yet.
JUST_ASKED = timedelta(hours=1)
#: The first message of a seat, in the record.
OPENED = "opened"
#: Mails that fail one after the other before a tick lets the server be.
ENOUGH = 3


@dataclass
class Told:
    """What a tick did: counts of messages by what became of them, and why mails failed."""

    counts: Counter[str] = field(default_factory=Counter)
    mails: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, int]:
        """Return the counts as a JSON-able dict."""
        return {name: self.counts[name] for name in ("sent", "off", "dropped", "cancelled", "failed")}


def remind(services: Services, *, now: datetime | None = None, run: str | None = None) -> dict[str, int]:
    """Tell everybody who is to be told now, each once; take back calendar entries that nobody needs.

    :param now: the moment to look from, aware; the present unless given.
    :returns: ``{"sent", "off", "dropped", "cancelled", "failed"}``: messages that went out; that had nothing to go
        out by (no mail server is set); that were not to be sent any more; calendar entries that were taken back;
        and tries that failed, to be made again.
    :raises MailFailed: some mails could not be sent; all others were. The next tick sends just those. A chat room
        that does not answer raises nothing.
    """
    moment = now or utcnow()
    told = Told()
    _claim(services, moment, run)
    _send_all(services, moment, told, run)
    _cancel_all(services, moment, told)
    counts = told.as_dict()
    log.info("Reminders: %s", counts)
    if told.mails:
        raise mail.MailFailed(
            f"{len(told.mails)} mails were not sent: {told.mails[0]}",
            where="reminders",
            remedy="When the mail server is up, the next run sends just these.",
        )
    return counts


def tell_opened(
    services: Services, *, seat_id: str, now: datetime | None = None, run: str | None = None
) -> dict[str, int]:
    """Tell the people of an open seat that it is theirs to sign, each once, however often it is asked for.

    A mail that fails is sent by the next tick, unless a reminder takes its place by then. A guest who was invited to
    a seat that was open already was told by the invitation.

    :returns: counts as of :func:`remind`; all nought for a seat that is not open.
    """
    moment = now or utcnow()
    told = Told()
    with services.session() as session:
        seat = session.get_one(Seat, seat_id)
        if seat.status != SeatStatus.OPEN or seat.opens_at is None:
            return told.as_dict()
        invited = session.scalars(
            select(Guest).where(Guest.package_id == seat.package_id, Guest.invited_at >= seat.opens_at)
        )
        knowing = [guest.person for guest in invited]
    # the whole minute before it: no mark is sent ahead of its time
    mark = _opening(services, (seat.due_at - seat.opens_at) // timedelta(minutes=-1))
    _claim_package(services, seat.package_id, [seat], mark, moment, run, but=knowing)
    _send_all(services, moment, told, run, opening=seat_id)
    return told.as_dict()


def _opening(services: Services, minutes: int) -> Mark:
    """Return the mark of a seat's opening, so many minutes from its deadline; the first reminder takes its place."""
    offset = timedelta(minutes=minutes)
    later = [mark.offset for mark in services.workflow.reminders.marks() if mark.offset >= offset + JUST_ASKED]
    return Mark(OPENED, offset, min([*later, timedelta()]), "seat")


def people_to_tell(seat: Mapping[str, Any], taken: Collection[str] = ()) -> list[str]:
    """Return who is reminded of a seat: who may still sign it, and the deputies of those who are away.

    :param seat: a seat as :func:`dam.review.packages.seats` tells it; ``deputies`` is deputy → for whom.
    :param taken: who signed a seat of the package: they can't sign another, nor can anybody in their place.
    """
    signed = set(taken) | _signers(seat)
    people = [person for person in seat["eligible"] if person not in signed]
    people += [deputy for deputy, absent in seat["deputies"].items() if deputy not in signed and absent not in signed]
    return list(dict.fromkeys(people))


def taken_of(seats: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return who signed any seat of a package, or was signed for."""
    return {person for seat in seats for person in _signers(seat)}


def _signers(seat: Mapping[str, Any]) -> set[str]:
    return {name for row in seat["signatures"] for name in (row["person"], row["on_behalf_of"]) if name}


# ------------------------------------------------------------------------------------------------ 1. claim


def _claim(services: Services, moment: datetime, run: str | None) -> None:
    for mark in services.workflow.reminders.marks():
        with services.session() as session:
            due = session.execute(_due(mark, moment)).all()
        for package_id, rows in groupby(due, key=lambda row: str(row.package_id)):
            _claim_package(services, package_id, list(rows), mark, moment, run)


def _due(mark: Mark, moment: datetime) -> Select[str, str, datetime]:
    """Return the query of the seats for which a mark is due and neither it nor a later one was claimed."""
    following = aliased(Package)
    minutes = _minutes(mark)
    told = exists().where(
        Reminder.seat_id == Seat.id,
        Reminder.due_at == Seat.due_at,
        Reminder.audience == mark.audience,
        Reminder.minutes >= minutes,
    )
    query = (
        select(Seat.id, Seat.package_id, Seat.due_at)
        .join(Package, Package.id == Seat.package_id)
        .where(Seat.due_at <= moment - mark.offset, Seat.due_at > moment - mark.until)
        .where(Package.status.in_([PackageStatus.IN_REVIEW, PackageStatus.EXPIRED]))
        .where(~exists().where(following.follows_id == Package.id), ~told)
        .order_by(Seat.package_id, Seat.ordinal)
    )
    if mark.offset >= timedelta():  # what closed unsigned is still somebody's matter
        return query.where(Seat.status.in_([SeatStatus.OPEN, SeatStatus.EXPIRED]))
    return query.where(Seat.status == SeatStatus.OPEN, Seat.opens_at <= Seat.due_at + (mark.offset - JUST_ASKED))


def _minutes(mark: Mark) -> int:
    return round(mark.offset.total_seconds() / 60)


def _claim_package(
    services: Services,
    package_id: str,
    rows: list[Any],
    mark: Mark,
    moment: datetime,
    run: str | None,
    but: Collection[str] = (),
) -> None:
    """Claim a mark for the seats of one package for which it is due, a row for each person, but for some."""
    seats = packages.seats(services, package_id=package_id)
    by_id = {seat["seat_id"]: seat for seat in seats}
    taken = taken_of(seats)
    claims = [
        {
            "id": new_id("rem"),
            "seat_id": row.id,
            "due_at": row.due_at,
            "kind": mark.kind,
            "audience": mark.audience,
            "minutes": _minutes(mark),
            "person": person,
            "claimed_at": moment,
            "tries": 0,
            "run": run,
        }
        for row in rows
        for person in _audience(services, package_id, by_id[row.id], taken, mark)
        if person not in but
    ]
    if claims:
        with services.session() as session:
            session.execute(insert(Reminder).values(claims).on_conflict_do_nothing())


def _audience(
    services: Services, package_id: str, seat: Mapping[str, Any], taken: set[str], mark: Mark
) -> Iterator[str]:
    people = people_to_tell(seat, taken) if mark.audience == "seat" else _caretakers(services, package_id)
    yield from people
    if people and services.settings.chat_url and mark.kind != OPENED:
        yield CHAT


def _caretakers(services: Services, package_id: str) -> list[str]:
    """Return who is told that nobody signed: the campaign's own holder of the role, else all its holders."""
    rule = services.workflow.reminders.escalate
    if rule is None:
        return []
    holders = services.workflow.members(rule.to)
    with services.session() as session:
        campaign = session.get_one(Package, package_id).campaign
        named = campaign.owners.get(rule.to) if campaign else None
    own = [named] if isinstance(named, str) else list(named or [])
    return [person for person in own if person in holders] or holders


# ------------------------------------------------------------------------------------------------- 2. send


def _send_all(services: Services, moment: datetime, told: Told, run: str | None, opening: str | None = None) -> None:
    """Send what is claimed: mails first, the fresh ones before those that failed; then the chat room.

    :param opening: a seat, to send only what tells that it is open.
    """
    query = (
        select(Reminder.id, Reminder.person, Seat.package_id)
        .join(Seat, Seat.id == Reminder.seat_id)
        .where(Reminder.outcome.is_(None))
        .order_by(Reminder.tries, Reminder.due_at, Seat.package_id, Seat.ordinal, Reminder.person)
    )
    if opening is not None:
        query = query.where(Reminder.seat_id == opening, Reminder.kind == OPENED)
    with services.session() as session:
        pending = session.execute(query).all()
    for to_chat, enough in ((False, ENOUGH), (True, 1)):
        in_a_row = 0
        for reminder_id, person, package_id in pending:
            if (person == CHAT) is not to_chat:
                continue
            # as it is by now: who signed since the tick began is left alone
            room = messages.look(services, package_id)
            down = in_a_row >= enough  # the next tick tries again
            failed = _send(services, reminder_id, room, moment, told, run, down=down)
            in_a_row = in_a_row + failed if failed or down else 0


def _send(
    services: Services,
    reminder_id: str,
    room: messages.Room,
    moment: datetime,
    told: Told,
    run: str | None,
    *,
    down: bool,
) -> bool:
    """Send one message under its row's lock, or drop it; return whether that failed.

    :param down: whether the server failed so often that it is let be; what is to be dropped is dropped all the same.
    """
    with services.session() as session:
        row = session.scalar(
            select(Reminder)
            .where(Reminder.id == reminder_id, Reminder.outcome.is_(None))
            .with_for_update(skip_locked=True)
        )
        if row is None:  # another tick has it
            return False
        seat = room.seats[row.seat_id]
        mark = _mark(services, row)
        if mark is not None and moment < row.due_at + mark.offset:
            return False  # the clock was ahead when it was claimed: it will be due again
        try:
            if why := _not_any_more(row, seat, room, mark, moment):
                outcome, row.problem = "dropped", why
            elif down:
                return False
            else:
                outcome = "sent" if _hand_over(services, session, row, room, moment) else "off"
        except BadInput as error:  # nobody by that name: no other try will find them
            outcome, row.problem = "dropped", str(error)
        except (mail.MailFailed, chat.ChatFailed) as error:
            row.tries, row.problem = row.tries + 1, str(error)
            told.counts["failed"] += 1
            told.mails += [str(error)] if isinstance(error, mail.MailFailed) else []
            log.warning("%s was not told of seat %s: %s", row.person, row.seat_id, error)
            return True
        row.outcome, row.done_at = outcome, moment
        told.counts[outcome] += 1
        if outcome == "sent":
            row.problem = None
            action = "seat.told" if row.kind == OPENED else "seat.reminded"
            if row.audience == "escalation":
                action = "seat.escalated"
            data = {"seat_id": row.seat_id, "role": seat["role"], "kind": row.kind, "to": row.person}
            audit.record(session, actor="airflow", action=action, subject_id=room.package_id, data=data, run=run)
        return False


def _mark(services: Services, row: Reminder) -> Mark | None:
    """Return the mark that a message was claimed for; None when the policy has it no more."""
    if row.kind == OPENED:
        return _opening(services, row.minutes)
    return next((mark for mark in services.workflow.reminders.marks() if mark.kind == row.kind), None)


def _not_any_more(
    row: Reminder, seat: Mapping[str, Any], room: messages.Room, mark: Mark | None, moment: datetime
) -> str | None:
    """Say why a message that was claimed is not to be sent any more; None when it is."""
    if room.followed or room.status not in (PackageStatus.IN_REVIEW, PackageStatus.EXPIRED):
        return "the review went on without it"
    if seat["status"] not in (SeatStatus.OPEN, SeatStatus.EXPIRED):
        return f"the seat is {seat['status']}"
    if datetime.fromisoformat(seat["due_at"]) != row.due_at:
        return "the seat has another deadline"
    if mark is None:
        return "the policy has no such reminder any more"
    if moment >= row.due_at + mark.until:
        return "a later reminder takes its place"
    people = people_to_tell(seat, taken_of(room.seats.values()))
    if row.audience == "seat" and row.person != CHAT and row.person not in people:
        return f"{row.person} can't sign it any more"
    return None


def _hand_over(services: Services, session: Session, row: Reminder, room: messages.Room, moment: datetime) -> bool:
    """Give one message to the mail server or the chat room; return whether there is one."""
    seat = room.seats[row.seat_id]
    if row.person == CHAT:
        text, link = messages.line(services, room, seat, row.audience, moment)
        return chat.post(services, text, link=link, button="Open the review room")
    if row.audience == "escalation":
        context = messages.context(services, room, seat, row.person, moment)
        return mail.send(services, to=[row.person], template="seat_escalated", context=context, key=row.id)
    # what is only true once the mail is out: the entry in the calendar, and a guest's new link
    with session.begin_nested() as attempt:
        way = guests.way_in(services, session, room, seat, row.person, moment)
        sent = mail.send(
            services,
            to=[row.person],
            template="seat_open" if row.kind == OPENED else "seat_reminder",
            context=messages.context(services, room, seat, row.person, moment, way),
            invitation=deadlines.put(services, session, room, seat, row.person, moment),
            key=row.id,
        )
        if not sent:
            attempt.rollback()
    if sent and way is not None and way.renewed:
        told = {"guest": row.person, "seat_id": row.seat_id}
        audit.record(session, actor="airflow", action="guest.link_renewed", subject_id=room.package_id, data=told)
    return sent


# ---------------------------------------------------------------------------------------------- 3. take back


def _cancel_all(services: Services, moment: datetime, told: Told) -> None:
    """Take back the calendar entries of seats that closed before their deadline; what is past bothers nobody."""
    signed = exists().where(Decision.package_id == Seat.package_id, Decision.person == DeadlineInvitation.person)
    with services.session() as session:
        standing = session.execute(
            select(DeadlineInvitation.seat_id, DeadlineInvitation.person, Seat.package_id)
            .join(Seat, Seat.id == DeadlineInvitation.seat_id)
            .where(DeadlineInvitation.standing, DeadlineInvitation.due_at > moment)
            .where(or_(Seat.status != SeatStatus.OPEN, signed))
            .order_by(Seat.package_id, DeadlineInvitation.due_at)
        ).all()
    in_a_row = 0
    for seat_id, person, package_id in standing:
        room = messages.look(services, package_id)
        in_a_row = in_a_row + 1 if _cancel(services, seat_id, person, room, moment, told) else 0
        if in_a_row >= ENOUGH:
            break


def _cancel(services: Services, seat_id: str, person: str, room: messages.Room, moment: datetime, told: Told) -> bool:
    """Take back one entry; return whether that failed."""
    seat = room.seats[seat_id]
    if seat["status"] == SeatStatus.OPEN and person in people_to_tell(seat, taken_of(room.seats.values())):
        return False  # they took their signature back meanwhile
    with services.session() as session:
        entry = session.scalar(
            select(DeadlineInvitation)
            .where(DeadlineInvitation.seat_id == seat_id, DeadlineInvitation.person == person)
            .where(DeadlineInvitation.standing)
            .with_for_update(skip_locked=True)
        )
        if entry is None:
            return False
        sequence = entry.sequence + 1
        try:
            sent = mail.send(
                services,
                to=[person],
                template="seat_closed",
                context=messages.context(services, room, seat, person, moment),
                invitation=messages.invitation(services, room, seat, person, "CANCEL", sequence, moment),
                key=f"{seat_id}.{person}.{sequence}",
            )
        except BadInput as error:  # they left: so did their calendar
            log.warning("The entry of %s for seat %s was not taken back: %s", person, seat_id, error)
            sent = False
        except mail.MailFailed as error:
            told.counts["failed"] += 1
            told.mails.append(str(error))
            return True
        entry.sequence, entry.standing, entry.changed_at = sequence, False, moment
        told.counts["cancelled"] += sent
    return False
