"""External reviewers: a link to one package, a one-time password in each new browser, and nothing beyond.

What leaves this module is for one guest and one package. Secrets (the link's, a browser's, a session's) are 256
random bits of which only hashes are kept: a link can't be told twice, so who is reminded of a seat gets a new one
(:func:`way_in`). A one-time password is hashed together with the secret of the browser
that asked for it, so that neither the database nor another browser can be used to guess it. The link ends when it
expires, is revoked, or the package is decided. Every visit and act is an audit event of the package, by
``guest:<email>``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from dam import audit, limits, mail
from dam.catalog.models import (
    Guest,
    GuestCode,
    GuestSession,
    Package,
    PackageStatus,
    PackageVersion,
    Purpose,
    Rendition,
    Seat,
    SeatStatus,
    Verdict,
    Version,
    utcnow,
)
from dam.errors import BadInput, DamError, NotFound, Refused
from dam.renditions import watermark
from dam.review import annotations as notes
from dam.review import deadlines, messages, packages, seats

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.orm import Session

    from dam.services import Services
    from dam.storage.store import Store

#: Roles that may invite and revoke.
INVITERS = ("marketing_lead", "dam_admin")
#: Longest life of a link.
LONGEST = timedelta(days=30)
CODE_LIFE, CODE_TRIES, CODE_DIGITS = timedelta(minutes=10), 5, 8
HOUR = timedelta(hours=1)
#: One-time passwords mailed to a guest, and tried for a guest, in an hour; bad links from an address in ten minutes.
CODES, TRIES, BAD_LINKS = 6, 20, 30
#: Pictures, visits, and notes or verdicts, of a guest in ten minutes.
PICTURES, VISITS, ACTS = 600, 100, 60
#: Who was in the room so short a time ago is at work there, and keeps their link.
AT_WORK = timedelta(hours=1)
#: Proofs a guest may look at, each with their name burnt into it.
PROOF = re.compile(r"preview|thumbnail|poster|page-[1-9]\d{0,3}")
#: The rendition that frames of films are taken of.
FILM = "proxy"
_EMAIL = re.compile(r"[^@\s<>\"',;:]+@[^@\s<>\"',;:]+\.[^@\s<>\"',;:.]+")
_TEN = timedelta(minutes=10)


class NoSuchLink(NotFound):
    """The link is none, or no more; which of it is not said."""

    def __init__(self) -> None:
        super().__init__(
            "this link does not lead anywhere, or not any more",
            remedy="Open the newest that you were mailed. Ask the person who sent it if there is none.",
        )


class WrongCode(Refused):
    """The one-time password is not the one that was mailed, or is one no more."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A guest as the rest of the system knows them: ``person`` acts, in one package."""

    guest_id: str
    person: str
    email: str
    name: str
    package_id: str
    may_comment: bool
    seat_id: str | None
    expires_at: datetime


# ----------------------------------------------------------------------------------------------- invite


def invite(
    services: Services,
    *,
    package_id: str,
    email: str,
    name: str,
    person: str,
    expires_at: datetime,
    may_comment: bool = True,
    seat_id: str | None = None,
) -> str:
    """Invite somebody to one package by a link that is mailed to them, and return the invitation's id.

    An earlier link of theirs to the same package ends. :param person: who invites.
    :param expires_at: when the link ends, within :data:`LONGEST`. :param seat_id: a seat they may sign.

    :raises Refused: the person may not invite, the package is decided, the seat is not open to externals, or a rule
        of seats forbids the guest to sign it.
    :raises BadInput: the address, the name or the time is not usable. :raises MailFailed: the link was not sent.
    """
    email, name = email.strip().lower(), " ".join(name.split())
    _check_inviter(services, person, package_id)
    _check_card(services, email, name, expires_at)
    token = secrets.token_urlsafe(32)
    with services.session() as session:
        package = packages.locked(session, package_id)
        if package.status != PackageStatus.IN_REVIEW:
            raise Refused(f"the review is over: {package.status}", where=f"package {package_id}")
        for before in session.scalars(
            select(Guest).where(Guest.package_id == package_id, Guest.email == email, Guest.revoked_at.is_(None))
        ):
            _revoke(session, before, person)
        session.flush()
        guest = Guest(
            package_id=package_id, email=email, name=name, token_sha256=_sha256(token), may_comment=may_comment,
            seat_id=seat_id, invited_by=person, expires_at=expires_at,
        )  # fmt: skip
        if seat_id is not None:
            _admit(services, session, package, seat_id, guest.person)
        session.add(guest)
        session.flush()
        guest_id = guest.id
        told = {"guest": guest.person, "name": name, "expires_at": expires_at, "may_comment": may_comment}
        audit.record(
            session, actor=person, action="guest.invited", subject_id=package_id, data=told | {"seat_id": seat_id}
        )
    try:
        _mail_link(services, package_id, guest_id, token)
    except DamError:
        revoke(services, guest_id=guest_id, person=person)  # a link that nobody has is of no use
        raise
    return guest_id


def _mail_link(services: Services, package_id: str, guest_id: str, token: str) -> None:
    """Mail a guest their first link; to who may sign an open seat, with its deadline for their calendar."""
    room, now = messages.look(services, package_id), utcnow()
    with services.session() as session:
        guest = session.get_one(Guest, guest_id)
        campaign = session.get_one(Package, package_id).campaign
        seat = room.seats.get(guest.seat_id or "")
        calendar = room.calendar(services, seat)
        asked = seat is not None and seat["status"] == SeatStatus.OPEN
        _mail(
            services, guest.email, "guest_invited", name=guest.name,
            campaign=campaign.name if campaign else "a package",
            invited_by=notes.name_of(services, guest.invited_by), until=calendar.told(guest.expires_at),
            seat=seat is not None, due=calendar.told(datetime.fromisoformat(seat["due_at"])) if seat and asked else "",
            link=_address(services, token),
            invitation=deadlines.put(services, session, room, seat, guest.person, now) if seat and asked else None,
        )  # fmt: skip


def way_in(
    services: Services,
    session: Session,
    room: messages.Room,
    seat: Mapping[str, Any],
    person: str,
    moment: datetime,
) -> messages.Way | None:
    """Return how somebody who is told of a seat comes to the package; None for who has a log-in: by its page.

    A guest is mailed a new link, and the old one ends, with the browsers that were let in by it. The alternative,
    to point at the mail of days ago, loses who deleted it; and a link that could be told again would have to be kept
    where it can be read. Nothing gets weaker: there is one link at any time, known by its hash alone; it goes to the
    address that the one-time password goes to, too, ends when the old one would have, and opens no more. Two things
    are left alone: who was in the room within :data:`AT_WORK` keeps the link, since a page at work would lose what
    is not sent yet; and where there is nothing to sign any more, or the link is over, no new one is made.

    :param session: the new link is valid when its transaction is committed, which is for who sends the mail to see to.
    """
    if not notes.is_guest(person):
        return None
    if seat["status"] != SeatStatus.OPEN or datetime.fromisoformat(seat["due_at"]) <= moment:
        return messages.Way("")
    guest = session.scalar(
        select(Guest)
        .where(Guest.package_id == room.package_id, Guest.email == person.removeprefix(notes.GUEST))
        .where(Guest.revoked_at.is_(None))
        .with_for_update()
    )
    if guest is None or guest.expires_at <= moment or room.status != PackageStatus.IN_REVIEW:
        ask = notes.name_of(services, guest.invited_by) if guest else "the person who invited you"
        return messages.Way("", f"Your link has ended. Ask {ask} for a new one.")
    calendar = room.calendar(services, seat)
    before = calendar.told(guest.linked_at)
    if session.scalar(
        select(GuestSession.guest_id)
        .where(GuestSession.guest_id == guest.id, GuestSession.ended_at.is_(None))
        .where(GuestSession.seen_at > moment - AT_WORK)
        .limit(1)
    ):
        return messages.Way("", f"You are in the review already: use the link that you were sent on {before}.")
    token = secrets.token_urlsafe(32)
    guest.token_sha256, guest.linked_at = _sha256(token), moment
    _end_sessions(session, guest, moment)
    return messages.Way(
        _address(services, token),
        f"This link is new, for you alone and good until {calendar.told(guest.expires_at)}; the one that you were sent "
        f"on {before} no longer works. When you open it, we mail you a one-time password.",
        renewed=True,
    )


def _address(services: Services, token: str) -> str:
    return f"{services.settings.web_url.rstrip('/')}/dam/guest/{token}"


def revoke(services: Services, *, guest_id: str, person: str) -> None:
    """End a guest's link and all their sessions at once; what they signed stays. Revoked twice is revoked once.

    :raises Refused: the person may not. :raises NotFound: there is no such invitation.
    """
    _check_inviter(services, person, guest_id)
    with services.session() as session:
        package_id = session.scalar(select(Guest.package_id).where(Guest.id == guest_id))
        if package_id is None:
            raise NotFound("there is no such invitation", where=guest_id)
        packages.locked(session, package_id)
        _revoke(session, session.get_one(Guest, guest_id, populate_existing=True), person)


def of_package(services: Services, *, package_id: str) -> list[dict[str, Any]]:
    """Return the guests of a package, the newest first.

    :returns: rows of ``{"guest_id", "email", "name", "person", "status", "invited_by", "invited_at", "expires_at",
        "may_comment", "role", "seen_at", "advice", "advice_comment", "signed"}``; ``status`` is ``invited``,
        ``visited``, ``expired``, ``revoked`` or ``closed`` with the package.
    """
    with services.session() as session:
        package = session.get(Package, package_id)
        if package is None:
            raise NotFound("there is no such package", where=package_id)
        rows = session.scalars(select(Guest).where(Guest.package_id == package_id).order_by(Guest.id.desc())).all()
        newest = (
            select(GuestSession.guest_id, func.max(GuestSession.seen_at))
            .where(GuestSession.guest_id.in_([row.id for row in rows]))
            .group_by(GuestSession.guest_id)
        )
        seen = dict(session.execute(newest).all())
        roles = {seat.id: seat.role for seat in package.seats}
        signed = {decision.person: decision.verdict for seat in package.seats for decision in seat.signatures}
        return [
            {
                "guest_id": row.id,
                "email": row.email,
                "name": row.name,
                "person": row.person,
                "status": _status(package, row, seen.get(row.id)),
                "invited_by": row.invited_by,
                "invited_at": row.invited_at.isoformat(),
                "expires_at": row.expires_at.isoformat(),
                "may_comment": row.may_comment,
                "role": roles.get(row.seat_id or ""),
                "seen_at": seen[row.id].isoformat() if row.id in seen else None,
                "advice": row.advice,
                "advice_comment": row.advice_comment,
                "signed": signed.get(row.person),
            }
            for row in rows
        ]


def open_seats(services: Services, *, package_id: str) -> list[dict[str, Any]]:
    """Return the unsigned seats of a package that ``workflow.yaml`` opens to externals."""
    with services.session() as session:
        purpose = session.scalar(select(Package.purpose).where(Package.id == package_id)) or Purpose.RELEASE
    return [
        seat
        for seat in packages.seats(services, package_id=package_id)
        if seat["status"] in _UNSIGNED and services.workflow.seat_rule(seat["role"], purpose).external
    ]


_UNSIGNED = (SeatStatus.OPEN, SeatStatus.WAITING)


def _check_inviter(services: Services, person: str, where: str) -> None:
    if not any(services.workflow.has_role(person, role) for role in INVITERS):
        raise Refused(f"{person} may not invite or revoke guests", where=where, remedy="Ask a marketing lead.")


def _check_card(services: Services, email: str, name: str, expires_at: datetime) -> None:
    if not _EMAIL.fullmatch(email) or len(email) > 254:
        raise BadInput("is no e-mail address", where=f"email {email!r}", remedy="Write it as name@example.com.")
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise BadInput("is no name", where="name", remedy="Write how the person is called, up to 100 characters.")
    if expires_at.tzinfo is None or not utcnow() < expires_at <= utcnow() + LONGEST:
        raise BadInput(
            "the link must end in the future, within a month",
            where=f"expires_at {expires_at.isoformat()}",
            remedy=f"Choose a time in the next {LONGEST.days} days.",
        )
    if known := _insider(services, email):
        raise Refused(
            f"{known} has a log-in: nobody acts in two names",
            where=f"email {email}",
            remedy="Send them the link to the package's page.",
        )
    if not services.settings.smtp_url:
        raise Refused(
            "no mail can be sent, and a guest needs one with a one-time password",
            where="DAM_SMTP_URL",
            remedy="Name a mail server.",
        )


def _insider(services: Services, email: str) -> str | None:
    """Return who of ``workflow.yaml`` has this address."""
    known = services.workflow.people.values()
    return next((person.username for person in known if person.email.lower() == email), None)


def _admit(services: Services, session: Session, package: Package, seat_id: str, person: str) -> None:
    """Let a guest take a seat, when the seat is open to externals and no rule of seats forbids it."""
    seat = session.get(Seat, seat_id, populate_existing=True)
    where = f"seat {seat_id}"
    if seat is None or seat.package_id != package.id:
        raise NotFound("there is no such seat in this package", where=where)
    role = seat.role.replace("_", " ")
    if not services.workflow.seat_rule(seat.role, package.purpose).external:
        raise Refused(
            f"the seat of the {role} is for people with a log-in",
            where=where,
            remedy="Write `external: true` at the seat in workflow.yaml, or ask for advice only.",
        )
    if seat.status not in _UNSIGNED:
        raise Refused(f"the seat is {seat.status}", where=where)
    if person in packages.makers_of(session, package):
        raise seats.SeatRefused(
            f"{person} made or sent a version of this package", where=where, remedy="Somebody else must sign."
        )
    if person not in seat.eligible:
        seat.eligible = [*seat.eligible, person]


def _revoke(session: Session, guest: Guest, person: str) -> None:
    if guest.revoked_at is not None:
        return
    guest.revoked_at, guest.revoked_by = utcnow(), person
    _end_sessions(session, guest, guest.revoked_at)
    seat = session.get(Seat, guest.seat_id, populate_existing=True) if guest.seat_id else None
    if seat is not None and seat.status in _UNSIGNED:
        seat.eligible = [name for name in seat.eligible if name != guest.person]
    audit.record(
        session,
        actor=person,
        action="guest.revoked",
        subject_id=guest.package_id,
        data={"guest": guest.person},
    )


def _end_sessions(session: Session, guest: Guest, moment: datetime) -> None:
    session.execute(
        update(GuestSession)
        .where(GuestSession.guest_id == guest.id, GuestSession.ended_at.is_(None))
        .values(ended_at=moment)
    )


def _status(package: Package, guest: Guest, seen: datetime | None) -> str:
    if guest.revoked_at is not None:
        return "revoked"
    if package.status != PackageStatus.IN_REVIEW:
        return "closed"
    if guest.expires_at <= utcnow():
        return "expired"
    return "visited" if seen else "invited"


def _mail(
    services: Services, email: str, template: str, *, invitation: mail.Invitation | None = None, **context: Any
) -> None:
    if not mail.send(services, to=[email], template=template, context=context, invitation=invitation):
        raise DamError("no mail could be sent", where="DAM_SMTP_URL", remedy="Name a mail server.")


def _sha256(*secret: str) -> str:
    return hashlib.sha256("\n".join(secret).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------ enter


def knock(services: Services, *, token: str, address: str | None) -> Visitor:
    """Return whose link this is.

    :param token: the link's secret. :param address: where the request came from.
    :raises NoSuchLink: it is none, was revoked, is over, or its package is decided.
    :raises TooOften: too many bad links came from this address.
    """
    with services.session() as session:
        found = session.execute(
            select(Guest, Package.status).join(Package).where(Guest.token_sha256 == _sha256(token))
        ).one_or_none()
        if found is not None and _lives(found.Guest, found.status):
            return _visitor(found.Guest)
    limits.take(services, f"link:{address}", most=BAD_LINKS, per=_TEN)
    raise NoSuchLink


def send_code(services: Services, *, token: str, address: str | None) -> str:
    """Mail a one-time password, for one browser, and return the secret that its cookie is to hold.

    :raises NoSuchLink: see :func:`knock`. :raises TooOften: it was asked for too often.
    """
    visitor = knock(services, token=token, address=address)
    limits.take(services, f"password:{visitor.guest_id}", most=CODES, per=HOUR)
    limits.forget(services)
    device, code = secrets.token_urlsafe(32), f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
    with services.session() as session:
        session.add(
            GuestCode(
                guest_id=visitor.guest_id, device_sha256=_sha256(device), code_sha256=_sha256(device, code),
                expires_at=utcnow() + CODE_LIFE,
            )
        )  # fmt: skip
        audit.record(
            session, actor=visitor.person, action="guest.password_sent", subject_id=visitor.package_id,
            data={"address": address},
        )  # fmt: skip
    half = CODE_DIGITS // 2
    _mail(
        services, visitor.email, "guest_code", name=visitor.name, code=f"{code[:half]} {code[half:]}",
        minutes=round(CODE_LIFE.total_seconds() / 60),
    )  # fmt: skip
    return device


def enter(
    services: Services, *, token: str, device: str, code: str, address: str | None = None, browser: str = ""
) -> str:
    """Take a one-time password and return the secret of a new session. A password works once.

    :param device: the secret of the browser that asked for it. :param code: as typed, with or without spaces.
    :raises WrongCode: it is another, was used, is older than :data:`CODE_LIFE` or was tried too often.
    :raises NoSuchLink: see :func:`knock`. :raises TooOften: too many were tried for this guest.
    """
    visitor = knock(services, token=token, address=address)
    limits.take(services, f"tries:{visitor.guest_id}", most=TRIES, per=HOUR)
    typed = _sha256(device, re.sub(r"\s", "", code))
    secret = secrets.token_urlsafe(32)
    with services.session() as session:
        asked = session.scalar(
            select(GuestCode)
            .where(GuestCode.guest_id == visitor.guest_id, GuestCode.device_sha256 == _sha256(device))
            .order_by(GuestCode.id.desc())
            .limit(1)
            .with_for_update()
        )
        alive = asked is not None and asked.used_at is None and asked.expires_at > utcnow() and asked.tries < CODE_TRIES
        # compared also where there is nothing to compare with: how long it takes tells nothing
        same = hmac.compare_digest(asked.code_sha256 if asked else "0" * 64, typed)
        if asked is not None:
            asked.tries += 1
        right = alive and same
        if right and asked is not None:
            asked.used_at = utcnow()
            session.add(
                GuestSession(
                    secret_sha256=_sha256(secret), guest_id=visitor.guest_id, address=address, browser=browser[:300]
                )
            )
        audit.record(
            session, actor=visitor.person, action="guest.entered" if right else "guest.refused",
            subject_id=visitor.package_id, data={"address": address, "browser": browser[:300]},
        )  # fmt: skip
    if not right:
        raise WrongCode(
            "that is not the one-time password that was sent to this browser, or it is too old",
            where="one-time password",
            remedy=f"After {CODE_TRIES} tries or {CODE_LIFE.seconds // 60} minutes, ask for a new one.",
        )
    return secret


def session_of(services: Services, *, token: str, secret: str, address: str | None = None) -> Visitor | None:
    """Return who a session belongs to; None when it is over, or is not of this link.

    :raises NoSuchLink: see :func:`knock`.
    """
    visitor = knock(services, token=token, address=address)
    with services.session() as session:
        found = session.get(GuestSession, _sha256(secret))
        if found is None or found.ended_at is not None or found.guest_id != visitor.guest_id:
            return None
        if found.seen_at < utcnow() - timedelta(minutes=1):
            found.seen_at = utcnow()
    return visitor


def leave(services: Services, *, token: str, secret: str) -> None:
    """End a session."""
    visitor = session_of(services, token=token, secret=secret)
    if visitor is None:
        return
    with services.session() as session:
        session.get_one(GuestSession, _sha256(secret)).ended_at = utcnow()
        audit.record(session, actor=visitor.person, action="guest.left", subject_id=visitor.package_id)


def _lives(guest: Guest, status: str) -> bool:
    return guest.revoked_at is None and guest.expires_at > utcnow() and status == PackageStatus.IN_REVIEW


def _visitor(guest: Guest) -> Visitor:
    return Visitor(
        guest_id=guest.id,
        person=guest.person,
        email=guest.email,
        name=guest.name,
        package_id=guest.package_id,
        may_comment=guest.may_comment,
        seat_id=guest.seat_id,
        expires_at=guest.expires_at,
    )


# ------------------------------------------------------------------------------------------------- look


def room(services: Services, visitor: Visitor, *, address: str | None) -> dict[str, Any]:
    """Return what a guest sees of their package, and note the visit.

    :returns: ``{"campaign", "round", "manifest_sha256", "versions", "notes", "seat", "may_undo", "due", "until",
        "advice"}``; ``due`` and ``until`` are the ends of the seat and of the link in words, ``may_undo`` is whether
        they may take their signature back; versions are
        ``{"version_id", "asset", "number", "title", "alt_text", "description", "media_type", "sha256", "proofs",
        "leaves", "seconds"}``, ``seconds`` of a film whose moments can be looked at; ``seat`` is the one they may sign,
        as :func:`dam.review.packages.seats` tells it, or None.
    """
    limits.take(services, f"visits:{visitor.guest_id}", most=VISITS, per=_TEN)
    with services.session() as session:
        package = session.get_one(Package, visitor.package_id)
        recipes: dict[str, list[str]] = {}
        for version_id, recipe in session.execute(
            select(Rendition.version_id, Rendition.recipe)
            .where(Rendition.version_id.in_([entry.version_id for entry in package.entries]))
            .distinct()
        ):
            if PROOF.fullmatch(recipe):
                recipes.setdefault(version_id, []).append(recipe)
        films = _films(session, package.id)
        shown = [
            {
                "version_id": version_id,
                "asset": entry["asset"],
                "number": entry["number"],
                "media_type": entry["media_type"],
                "sha256": entry["sha256"],
                **{name: entry.get("metadata", {}).get(name) for name in ("title", "alt_text", "description")},
                "proofs": sorted(recipes.get(version_id, ())),
                "leaves": _leaves(recipes.get(version_id, ())),
                "seconds": films.get(version_id),
            }
            for version_id, entry in package.manifest["versions"].items()
        ]
        guest = session.get_one(Guest, visitor.guest_id)
        due = session.scalar(select(Seat.due).where(Seat.id == visitor.seat_id)) or {}
        calendar = services.workflow.calendar(due.get("calendar"))
        told: dict[str, Any] = {
            "campaign": (package.campaign.name if package.campaign else "Package")
            + (f": brief {package.brief.number}" if package.brief else ""),
            "round": package.round,
            "manifest_sha256": package.manifest_sha256,
            "versions": sorted(shown, key=lambda row: (row["asset"], row["number"])),
            "until": calendar.told(visitor.expires_at),
            "advice": {"verdict": guest.advice, "comment": guest.advice_comment} if guest.advice else None,
        }
        audit.record(
            session, actor=visitor.person, action="guest.visited", subject_id=visitor.package_id,
            data={"address": address},
        )  # fmt: skip
    seat_rows = packages.seats(services, package_id=visitor.package_id)
    seat = told["seat"] = next((row for row in seat_rows if row["seat_id"] == visitor.seat_id), None)
    told["may_undo"] = seat is not None and seats.may_undo(services, seat_id=seat["seat_id"], person=visitor.person)
    told["due"] = calendar.told(datetime.fromisoformat(seat["due_at"])) if seat else ""
    told["notes"] = notes.of_package(services, package_id=visitor.package_id, person=visitor.person)
    return told


def _leaves(recipes: Collection[str]) -> list[str]:
    """Return the proofs to leaf through: all pages of a document, or else the one picture that shows most."""
    paged = sorted((recipe for recipe in recipes if recipe.startswith("page-")), key=lambda recipe: int(recipe[5:]))
    return paged or [recipe for recipe in ("preview", "poster") if recipe in recipes][:1]


def proof(services: Services, visitor: Visitor, *, version_id: str, recipe: str, address: str | None) -> bytes:
    """Return a proof as JPEG, with the guest's name, address and the time burnt into it.

    :raises NotFound: it is no proof of a version of their package. :raises TooOften: they look at too many.
    """
    if not PROOF.fullmatch(recipe):
        raise NotFound("there is no such proof", where=f"version {version_id}, {recipe}")
    store, key = _rendition(services, visitor, version_id, recipe, "image/")
    if recipe == "thumbnail":
        return watermark.burn(store.read(key), visitor.email)
    _note_look(services, visitor, version_id, address)
    return watermark.burn(store.read(key), _mark(visitor))


def moment(services: Services, visitor: Visitor, *, version_id: str, seconds: float, address: str | None) -> bytes:
    """Return the frame at a moment of a film as JPEG, marked like every proof: a film itself is never given out.

    :raises NotFound: it is no film of their package. :raises TooOften: they look at too many.
    """
    from dam.renditions import moments

    store, key = _rendition(services, visitor, version_id, FILM, "video/")
    _note_look(services, visitor, version_id, address)
    with store.local(key) as path:
        return watermark.burn(moments.still(path, seconds), _mark(visitor))


def _rendition(
    services: Services, visitor: Visitor, version_id: str, recipe: str, media_type: str
) -> tuple[Store, str]:
    """Return store and key of the newest rendition of a version of the guest's package."""
    limits.take(services, f"pictures:{visitor.guest_id}", most=PICTURES, per=_TEN)
    with services.session() as session:
        uri = session.scalar(
            select(Rendition.storage_uri)
            .join(PackageVersion, PackageVersion.version_id == Rendition.version_id)
            .where(PackageVersion.package_id == visitor.package_id, Rendition.version_id == version_id)
            .where(Rendition.recipe == recipe, Rendition.media_type.startswith(media_type))
            .order_by(Rendition.created_at.desc())
            .limit(1)
        )
    if uri is None:
        raise NotFound("there is no such proof", where=f"version {version_id}, {recipe}")
    return services.storage.resolve(uri)


def _films(session: Session, package_id: str) -> dict[str, float]:
    """Return the lengths of a package's films in seconds, by version."""
    rows = session.execute(
        select(Version.id, Version.seconds)
        .join(PackageVersion, PackageVersion.version_id == Version.id)
        .join(Rendition, Rendition.version_id == Version.id)
        .where(PackageVersion.package_id == package_id, Version.seconds.is_not(None))
        .where(Rendition.recipe == FILM, Rendition.media_type.startswith("video/"))
    )
    return {version_id: seconds for version_id, seconds in rows if seconds}


def _note_look(services: Services, visitor: Visitor, version_id: str, address: str | None) -> None:
    """Note that a version was looked at: once an hour, for turning pages back and forth is no new act."""
    if limits.count(services, f"looked:{visitor.guest_id}:{version_id}", per=HOUR) > 1:
        return
    with services.session() as session:
        audit.record(
            session,
            actor=visitor.person,
            action="guest.looked",
            subject_id=visitor.package_id,
            data={"version_id": version_id, "address": address},
        )


def _mark(visitor: Visitor) -> str:
    return f"{visitor.name} · {visitor.email} · {utcnow():%-d %b %Y, %H:%M} UTC"


# -------------------------------------------------------------------------------------------------- act


def comment(services: Services, visitor: Visitor, *, version_id: str, **note: Any) -> dict[str, Any]:
    """Write a guest's note and return it; see :func:`dam.review.annotations.add` for what it takes and returns.

    :raises Refused: they may not comment. :raises NotFound: the version is not in their package.
    :raises TooOften: they write too much.
    """
    _count_act(services, visitor)
    if not visitor.may_comment:
        raise Refused("you were invited to look, not to comment", where="note")
    with services.session() as session:
        if session.get(PackageVersion, (visitor.package_id, version_id)) is None:
            raise NotFound("there is no such version", where=version_id)
    return notes.add(services, package_id=visitor.package_id, version_id=version_id, person=visitor.person, **note)


def take_back(services: Services, visitor: Visitor, *, annotation_id: str) -> None:
    """Take one's own open note back. :raises NotFound: there is none of theirs. :raises Refused: it was answered."""
    _count_act(services, visitor)
    mine = notes.of_package(services, package_id=visitor.package_id, person=visitor.person)
    if not any(row["annotation_id"] == annotation_id and row["mine"] for row in mine):
        raise NotFound("there is no such note", where=annotation_id)
    notes.withdraw(services, annotation_id=annotation_id, person=visitor.person)


def advise(
    services: Services,
    visitor: Visitor,
    *,
    verdict: str,
    comment: str = "",
    conditions: str = "",
    address: str | None,
) -> None:
    """Note a guest's verdict that binds nobody; the newest counts.

    :raises BadInput: the verdict is none, or has conditions, which only a signature can be tied to.
    :raises TooOften: they change their mind too often.
    """
    _count_act(services, visitor)
    if conditions.strip():
        raise BadInput(
            "advice binds nobody, and so has no conditions", where="conditions", remedy="Write it as a comment."
        )
    if verdict not in set(Verdict):
        raise BadInput(f"{verdict!r} is no verdict", where="verdict", remedy=f"Use: {', '.join(Verdict)}.")
    with services.session() as session:
        packages.locked(session, visitor.package_id)
        guest = session.get_one(Guest, visitor.guest_id)
        guest.advice, guest.advice_comment, guest.advised_at = verdict, comment, utcnow()
        audit.record(
            session, actor=visitor.person, action="guest.advised", subject_id=visitor.package_id,
            data={"verdict": verdict, "comment": comment, "address": address},
        )  # fmt: skip


def sign(
    services: Services,
    visitor: Visitor,
    *,
    verdict: str,
    comment: str = "",
    conditions: str = "",
    versions: dict[str, Any] | None = None,
    address: str | None,
) -> dict[str, Any]:
    """Sign the guest's seat, by the rules of :mod:`dam.review.seats`; see :func:`dam.review.seats.decide`.

    :raises Refused: they were given no seat, or a rule forbids it.
    """
    seat_id = seat_of(services, visitor)
    return seats.decide(
        services, seat_id=seat_id, person=visitor.person, verdict=verdict, comment=comment, conditions=conditions,
        versions=versions, via="guest", address=address,
    )  # fmt: skip


def undo(services: Services, visitor: Visitor, *, address: str | None) -> dict[str, Any]:
    """Take the guest's signature back until the seat is closed; see :func:`dam.review.seats.undo`.

    :raises Refused: they were given no seat, have not signed it, or it is closed.
    """
    _count_act(services, visitor)
    return seats.undo(services, seat_id=_given_seat(visitor), person=visitor.person, via="guest", address=address)


def seat_of(services: Services, visitor: Visitor) -> str:
    """Return the seat a guest may sign, unless something forbids them to sign at all.

    :raises Refused: they were given no seat, have a log-in meanwhile, or the seat is for externals no more.
    :raises TooOften: they tried too often.
    """
    _count_act(services, visitor)
    seat_id = _given_seat(visitor)
    with services.session() as session:
        seat = session.get(Seat, seat_id)
        rule = services.workflow.seat_rule(seat.role, seat.package.purpose) if seat else None
    if known := _insider(services, visitor.email):
        raise seats.SeatRefused(f"{known} has a log-in: nobody acts in two names", where=f"seat {seat_id}")
    if rule is None or not rule.external:
        raise seats.SeatRefused("the seat is for people with a log-in", where=f"seat {seat_id}")
    return seat_id


def _given_seat(visitor: Visitor) -> str:
    if visitor.seat_id is None:
        raise Refused("you were not asked to sign", where="signature", remedy="Leave your advice instead.")
    return visitor.seat_id


def _count_act(services: Services, visitor: Visitor) -> None:
    limits.take(services, f"acts:{visitor.guest_id}", most=ACTS, per=_TEN)
