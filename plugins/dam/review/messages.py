"""What people are told of a package's seats: the words of mails, calendar entries and chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, select

from dam import mail
from dam.catalog.models import Package, Seat
from dam.invitations import Deadline, Method, calendar_file
from dam.review import packages, purposes
from dam.review.annotations import is_guest, name_of

if TYPE_CHECKING:
    from dam.calendars import Calendar
    from dam.services import Services

#: Proofs that a mail names; the room shows all.
SHOWN = 10


@dataclass(frozen=True)
class Room:
    """A package as its mails tell it.

    ``of``: the campaign, or where it came from. ``followed``: its next round is there. ``calendars``: the name of each
    seat's, None for the house calendar. ``proofs``: id, asset and title. ``holds``: what it holds, in words.
    """

    package_id: str
    purpose: str
    of: str
    round: int
    status: str
    followed: bool
    seats: Mapping[str, dict[str, Any]]
    calendars: Mapping[str, str | None]
    proofs: list[tuple[str, str, str]]
    holds: str

    def calendar(self, services: Services, seat: Mapping[str, Any] | None) -> Calendar:
        """Return the calendar that times are told in: a seat's own; of one due in hours or no seat, the house's."""
        return services.workflow.calendar(self.calendars.get(seat["seat_id"]) if seat else None)


@dataclass(frozen=True)
class Way:
    """How the reader of a mail comes to the package: a page to open (empty: none), and what is to be said of it.

    ``renewed``: the page's address is new, and an older one no longer works.
    """

    link: str
    words: str = ""
    renewed: bool = False


def look(services: Services, package_id: str) -> Room:
    """Return what is to be told of a package."""
    seats = packages.seats(services, package_id=package_id)
    with services.session() as session:
        package = session.get_one(Package, package_id)
        return Room(
            package_id=package_id,
            purpose=package.purpose,
            of=purposes.source(package),
            round=package.round,
            status=package.status,
            followed=bool(session.scalar(select(exists().where(Package.follows_id == package_id)))),
            seats={seat["seat_id"]: seat for seat in seats},
            calendars={
                seat_id: due.get("calendar")
                for seat_id, due in session.execute(select(Seat.id, Seat.due).where(Seat.package_id == package_id))
            },
            proofs=[
                (version_id, f"{entry['asset']} v{entry['number']}", entry.get("metadata", {}).get("title") or "")
                for version_id, entry in package.manifest.get("versions", {}).items()
            ],
            holds=purposes.holds(package, len(package.manifest.get("versions", {}))),
        )


def context(
    services: Services,
    room: Room,
    seat: Mapping[str, Any],
    person: str,
    moment: datetime,
    way: Way | None = None,
) -> dict[str, Any]:
    """Return what the templates ``seat_open``, ``seat_reminder``, ``seat_escalated`` and ``seat_closed`` are given.

    ``subject``; ``role``; ``due`` (words, on the clock of the seat's calendar); ``left`` (words; empty once it is
    over); ``ago`` (words; empty until then); ``signers`` and ``asked`` (names); ``instead_of`` (whom the reader stands
    in for); ``may_reopen`` (whether the reader may ask again); ``lead``, ``silence`` and ``over`` (what it is about,
    what silence does, and did); ``proofs`` (each ``title, link``); ``more`` (how many more there are); ``link`` and
    ``way`` (words about it).

    :param way: how the reader gets in; the review room for who has a log-in, and no way for a guest, when left out.
    """
    way = way or Way("" if is_guest(person) else _page(services, room))
    due = datetime.fromisoformat(seat["due_at"])
    absent = seat["deputies"].get(person)
    return {
        "subject": title(room, seat),
        "role": _words(seat["role"]),
        "due": room.calendar(services, seat).told(due),
        "left": span(due - moment) if due > moment else "",
        "ago": span(moment - due) if due <= moment else "",
        "signers": [name_of(services, row["person"]) for row in seat["signatures"]],
        "asked": [name_of(services, name) for name in seat["eligible"]],
        "instead_of": name_of(services, absent) if absent else "",
        "lead": purposes.words(room.purpose).lead,
        "silence": purposes.words(room.purpose).silence,
        "over": purposes.words(room.purpose).over,
        "may_reopen": any(services.workflow.has_role(person, role) for role in packages.REOPENERS),
        "proofs": [
            {
                "title": f"{name}: {title}" if title else name,
                "link": f"{way.link}#{version_id}" if way.link else "",
            }
            for version_id, name, title in room.proofs[:SHOWN]
        ],
        "more": max(len(room.proofs) - SHOWN, 0),
        "link": way.link,
        "way": way.words,
    }


def line(services: Services, room: Room, seat: Mapping[str, Any], audience: str, moment: datetime) -> tuple[str, str]:
    """Return a message for the chat room, and the page to open."""
    due = datetime.fromisoformat(seat["due_at"])
    about = title(room, seat)
    over = purposes.words(room.purpose).over
    if due > moment:
        text = f"{span(due - moment)} left: {about}. Asked: {_asked(services, seat)}."
    elif audience == "seat":
        text = f"Not signed in time: {about}. Asked: {_asked(services, seat)}. {over[0].upper()}{over[1:]}."
    else:
        text = f"Still not signed, {span(moment - due)} after the deadline: {about}. A marketing lead can ask again."
    return text, _page(services, room)


def invitation(
    services: Services,
    room: Room,
    seat: Mapping[str, Any],
    person: str,
    method: Method,
    sequence: int,
    moment: datetime,
) -> mail.Invitation:
    """Return the calendar file of a seat's deadline for one person; its UID is the seat's own.

    A guest's has no link: calendars are open to colleagues and services, and theirs is a secret.
    """
    entry = Deadline(
        uid=f"{seat['seat_id']}@airflow-dam",
        at=datetime.fromisoformat(seat["due_at"]),
        title=f"Deadline: {title(room, seat)}",
        text=f"By this moment the seat must be signed in the review room, or {purposes.words(room.purpose).silence}.",
        link="" if is_guest(person) else _page(services, room),
        organiser=parseaddr(services.settings.mail_from)[1],
        person=mail.address(services, person),
        name=name_of(services, person),
        alarm=services.workflow.reminders.alarm(),
    )
    return mail.Invitation(calendar_file(entry, method=method, sequence=sequence, stamp=moment), method)


def title(room: Room, seat: Mapping[str, Any]) -> str:
    """Return what a seat is about: ``Spring 2027: 2 versions for the legal reviewer, round 1``."""
    return purposes.headline(room.purpose, room.of, seat["role"], room.holds, room.round)


def span(length: timedelta) -> str:
    """Return a span of time in one word and a number, rounded: ``3 hours``; never less than a minute."""
    minutes = max(round(length.total_seconds() / 60), 1)
    size, unit = (1440, "day") if minutes >= 2880 else (60, "hour") if minutes >= 90 else (1, "minute")
    count = round(minutes / size)
    return f"{count} {unit}" + ("" if count == 1 else "s")


def _asked(services: Services, seat: Mapping[str, Any]) -> str:
    people = [*seat["eligible"], *seat["deputies"]]
    return ", ".join(name_of(services, person) for person in dict.fromkeys(people))


def _words(role: str) -> str:
    return role.replace("_", " ")


def _page(services: Services, room: Room) -> str:
    return f"{services.settings.web_url.rstrip('/')}/dam/packages/{room.package_id}"
