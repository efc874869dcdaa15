"""What the reminders say: the words of mails, calendar entries and chat messages about a package's seats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, select

from dam import mail
from dam.catalog.models import Package
from dam.invitations import Deadline, Method, calendar_file
from dam.review import packages, words
from dam.review.annotations import name_of

if TYPE_CHECKING:
    from dam.services import Services

#: Proofs that a mail names; the room shows all.
SHOWN = 10


@dataclass(frozen=True)
class Room:
    """A package as the reminders tell it.

    ``followed``: its next round is there. ``proofs``: id, asset and title. ``holds``: what it holds, in words.
    """

    package_id: str
    campaign: str
    round: int
    status: str
    followed: bool
    seats: Mapping[str, dict[str, Any]]
    proofs: list[tuple[str, str, str]]
    holds: str


def look(services: Services, package_id: str) -> Room:
    """Return what is to be told of a package."""
    seats = packages.seats(services, package_id=package_id)
    with services.session() as session:
        package = session.get_one(Package, package_id)
        return Room(
            package_id=package_id,
            campaign=package.campaign.name if package.campaign else "",
            round=package.round,
            status=package.status,
            followed=bool(session.scalar(select(exists().where(Package.follows_id == package_id)))),
            seats={seat["seat_id"]: seat for seat in seats},
            proofs=[
                (version_id, f"{entry['asset']} v{entry['number']}", entry["metadata"].get("title") or "")
                for version_id, entry in package.manifest.get("versions", {}).items()
            ],
            holds=words.holds(package, len(package.manifest.get("versions", {}))),
        )


def context(services: Services, room: Room, seat: Mapping[str, Any], person: str, moment: datetime) -> dict[str, Any]:
    """Return what the templates ``seat_reminder``, ``seat_escalated`` and ``seat_closed`` are given.

    ``subject``; ``role``; ``due`` (words); ``left`` (words; empty once it is over); ``ago`` (words; empty until then);
    ``signers`` and ``asked`` (names); ``instead_of`` (whom the reader stands in for); ``may_reopen`` (whether the
    reader may ask again); ``proofs`` (each ``title, link``); ``more`` (how many more there are); ``link``.
    """
    page = _page(services, room)
    due = datetime.fromisoformat(seat["due_at"])
    absent = seat["deputies"].get(person)
    return {
        "subject": title(room, seat),
        "role": _words(seat["role"]),
        "due": told(due),
        "left": span(due - moment) if due > moment else "",
        "ago": span(moment - due) if due <= moment else "",
        "signers": [name_of(services, row["person"]) for row in seat["signatures"]],
        "asked": [name_of(services, name) for name in seat["eligible"]],
        "instead_of": name_of(services, absent) if absent else "",
        "may_reopen": any(services.workflow.has_role(person, role) for role in packages.REOPENERS),
        "proofs": [
            {"title": f"{name}: {title}" if title else name, "link": f"{page}#{version_id}"}
            for version_id, name, title in room.proofs[:SHOWN]
        ],
        "more": max(len(room.proofs) - SHOWN, 0),
        "link": page,
    }


def line(services: Services, room: Room, seat: Mapping[str, Any], audience: str, moment: datetime) -> tuple[str, str]:
    """Return a message for the chat room, and the page to open."""
    due = datetime.fromisoformat(seat["due_at"])
    about = title(room, seat)
    if due > moment:
        text = f"{span(due - moment)} left: {about}. Asked: {_asked(services, seat)}."
    elif audience == "seat":
        text = f"Not signed in time: {about}. Asked: {_asked(services, seat)}. Nothing is approved."
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
    """Return the calendar file of a seat's deadline for one person; its UID is the seat's own."""
    entry = Deadline(
        uid=f"{seat['seat_id']}@airflow-dam",
        at=datetime.fromisoformat(seat["due_at"]),
        title=f"Deadline: {title(room, seat)}",
        text="By this moment the seat must be signed in the review room. Silence never approves.",
        link=_page(services, room),
        organiser=parseaddr(services.settings.mail_from)[1],
        person=mail.address(services, person),
        name=name_of(services, person),
        alarm=services.workflow.reminders.alarm(),
    )
    return mail.Invitation(calendar_file(entry, method=method, sequence=sequence, stamp=moment), method)


def title(room: Room, seat: Mapping[str, Any]) -> str:
    """Return what a seat is about: ``Spring 2027: 2 versions for the legal reviewer, round 1``."""
    return f"{room.campaign or 'No campaign'}: {room.holds} for the {_words(seat['role'])}, round {room.round}"


def told(moment: datetime) -> str:
    """Return a moment as people read it, in UTC."""
    return f"{moment.astimezone(UTC):%A, %-d %B %Y, %H:%M} UTC"


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
