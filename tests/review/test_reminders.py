"""Reminders: who hears of a seat's deadline, when, by what, and how often; over real SMTP and a real webhook."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from icalendar import Calendar
from sqlalchemy import delete, event, select, text

from catchers import ChatRoom, Inbox, chat_server, mail_server
from dam import mail
from dam.audit import history, verify
from dam.calendars import Calendar as WorkingCalendar
from dam.catalog.models import Campaign, DeadlineInvitation, Description, Guest, Package, Reminder, utcnow
from dam.errors import Refused
from dam.review import guests, packages, reminders, seats
from dam.review.reminder_policy import Reminders
from dam.services import Services

HOUR = timedelta(hours=1)
BEA, LENA, MAYA = "bea@acme.example", "lena@acme.example", "maya@acme.example"


@dataclass
class Desk:
    """A package under review whose seats are due at ``due``, a mail server and a chat room."""

    services: Services
    package_id: str
    due: datetime
    inbox: Inbox
    room: ChatRoom

    def tick(self, after: timedelta = timedelta(), **more: Any) -> dict[str, int]:
        """Let a tick look from ``after`` the deadline."""
        return reminders.remind(self.services, now=self.due + after, run="review_reminders/1", **more)

    def policy(self, **changes: Any) -> None:
        policy = Reminders.model_validate(changes)
        workflow = self.services.workflow.model_copy(update={"reminders": policy})
        self.services.__dict__["workflow"] = workflow

    def seat(self, role: str = "brand_reviewer") -> str:
        rows = packages.seats(self.services, package_id=self.package_id)
        return next(str(row["seat_id"]) for row in rows if row["role"] == role)

    def sign(self, person: str = "bea", role: str = "brand_reviewer", verdict: str = "approve") -> None:
        seats.decide(self.services, seat_id=self.seat(role), person=person, verdict=verdict, comment="So.")

    def expire(self) -> None:
        for role in ("brand_reviewer", "legal_reviewer"):
            seats.expire(self.services, seat_id=self.seat(role))

    def mails(self) -> list[tuple[str, str]]:
        """Return address and subject of each mail since the last time."""
        found = [(to, subject(message)) for people, message in self.inbox.mails for to in people]
        self.inbox.mails.clear()
        return found

    def told(self) -> list[str]:
        return sorted(to for to, _ in self.mails())

    def rows(self) -> list[Reminder]:
        with self.services.session() as session:
            return list(session.scalars(select(Reminder).order_by(Reminder.minutes, Reminder.person)))


@pytest.fixture
def desk(services, package_id):
    with ExitStack() as stack:
        inbox, smtp_url = stack.enter_context(mail_server())
        room, _ = stack.enter_context(chat_server())
        told = Services(
            replace(
                services.settings, smtp_url=smtp_url, mail_from="DAM <dam@acme.example>", web_url="https://dam.test/"
            )
        )
        due = datetime(2035, 3, 5, 17, tzinfo=UTC)
        with told.session() as session:
            session.execute(text("UPDATE seats SET opens_at = :at"), {"at": due - 72 * HOUR})
            session.execute(text("UPDATE seats SET due_at = :at"), {"at": due})
        yield Desk(told, package_id, due, inbox, room)
        told.engine.dispose()


@pytest.fixture
def chatting(desk):
    """The same, with a chat room."""
    with chat_server() as (room, url):
        settings_ = replace(desk.services.settings, chat_url=url)
        services = Services(settings_)
        yield replace(desk, services=services, room=room)
        services.engine.dispose()


def subject(message: EmailMessage) -> str:
    return str(message["Subject"]).strip()  # a long one is folded right after its name


def calendars(message: EmailMessage) -> list[Any]:
    found = [part.get_content() for part in message.walk() if part.get_content_type() == "text/calendar"]
    return [Calendar.from_ical(told) for told in found]


# ------------------------------------------------------------------------------------------- what is told


def test_each_mark_is_told_once_to_everybody_who_may_sign(desk):
    expected = {-49: [], -48: [BEA, LENA], -30: [], -24: [BEA, LENA], -4: [BEA, LENA], -1: []}
    expected |= {0: [BEA, LENA], 3: [], 4: [MAYA, MAYA], 23: [], 24: [BEA, LENA], 100: [], 2400: []}
    for hours, people in sorted(expected.items()):
        desk.tick(hours * HOUR)
        assert desk.told() == people, hours
        desk.tick(hours * HOUR + timedelta(minutes=15))
        assert desk.told() == [], hours


def test_the_mail_leads_to_the_very_package_and_proofs(desk):
    desk.tick(-4 * HOUR)
    people, message = desk.inbox.mails[0]
    assert people == [BEA]
    assert subject(message) == "4 hours left: Spring 2027: 2 versions for the brand reviewer, round 1"
    told = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",)).get_content()
    page = f"https://dam.test/dam/packages/{desk.package_id}"
    for version_id in packages.versions(desk.services, package_id=desk.package_id):
        assert f"{page}#{version_id}" in told
        assert f'href="{page}#{version_id}"' in html
    assert f'href="{page}"' in html
    assert "until Monday, 5 March 2035, 18:00 CET (Europe/Berlin)" in told
    assert "silence never approves" in told


def test_who_signed_a_seat_is_told_of_none(desk):
    desk.sign("bea")
    desk.tick(-4 * HOUR)
    assert desk.told() == [LENA]


def test_who_signs_between_the_claim_and_the_mail_is_left_alone(desk):
    desk.inbox.full = True
    with pytest.raises(mail.MailFailed, match="2 mails were not sent"):
        desk.tick(-4 * HOUR)
    desk.inbox.full = False
    desk.sign("bea")
    assert desk.tick(-3 * HOUR) == {"sent": 1, "off": 0, "dropped": 1, "cancelled": 0, "failed": 0}
    assert desk.told() == [LENA]
    [dropped] = [row for row in desk.rows() if row.outcome == "dropped"]
    assert (dropped.person, dropped.problem) == ("bea", "the seat is signed")


def test_after_an_outage_only_the_latest_is_told(desk):
    desk.tick(-3 * HOUR)  # two days late: neither 48h nor 24h is made up for
    assert desk.told() == [BEA, LENA]
    desk.tick(30 * HOUR)
    assert desk.told() == [BEA, LENA, MAYA, MAYA]
    assert {row.kind for row in desk.rows()} == {"before_4h", "after_24h", "escalate_4h"}


def test_a_clock_that_went_back_tells_nothing_again(desk):
    for hours in (-4, -48, -24, -4):
        desk.tick(hours * HOUR)
    assert desk.told() == [BEA, LENA]


def test_who_was_just_asked_is_not_reminded_at_once(desk):
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET opens_at = :at"), {"at": desk.due - 24.5 * HOUR})
    for hours in (-24, -23, -5):
        desk.tick(hours * HOUR)
    assert desk.told() == []
    desk.tick(-4 * HOUR)
    assert desk.told() == [BEA, LENA]


def test_a_new_deadline_is_told_anew(desk):
    desk.tick(-4 * HOUR)
    desk.mails()
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET due_at = due_at + interval '48 hours'"))
    desk.tick(-3 * HOUR)
    assert desk.told() == []
    desk.tick(24 * HOUR)
    assert desk.told() == [BEA, LENA]


def test_a_review_that_is_over_or_asked_for_again_is_left_alone(desk):
    desk.expire()
    assert packages.verdict(desk.services, package_id=desk.package_id)["status"] == "expired"
    desk.tick(HOUR)
    assert desk.told() == [BEA, LENA]
    packages.reopen_expired(desk.services, package_id=desk.package_id, person="maya")
    with desk.services.session() as session:
        newest = session.scalars(select(Package.id).where(Package.follows_id == desk.package_id)).one()
        session.execute(text("UPDATE seats SET due_at = '2040-01-01' WHERE package_id = :id"), {"id": newest})
    desk.tick(30 * HOUR)
    assert desk.told() == []


def test_a_package_that_became_void_is_left_alone(desk):
    with desk.services.session() as session:
        session.scalars(select(Description)).first().title = "Another"
    packages.revalidate(desk.services, package_id=desk.package_id)
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET due_at = '2040-01-01' WHERE status = 'open'"))
    for hours in (-4, 0, 30):
        desk.tick(hours * HOUR)
    assert desk.told() == []


# ---------------------------------------------------------------------------------------- it is theirs now


def opened(desk: Desk, role: str = "brand_reviewer", **more: Any) -> dict[str, int]:
    """Let the seat be asked for, an hour after it opened."""
    return reminders.tell_opened(desk.services, seat_id=desk.seat(role), now=desk.due - 71 * HOUR, **more)


def test_who_is_asked_is_told_once_with_the_deadline_for_the_calendar(desk):
    assert opened(desk, run="review_package/1")["sent"] == 1
    [(people, message)] = desk.inbox.mails
    assert people == [BEA]
    assert [part.get_filename() for part in message.iter_attachments()] == ["deadline.ics"]
    assert subject(message) == "Your signature is needed: Spring 2027: 2 versions for the brand reviewer, round 1"
    told = message.get_body(("plain",)).get_content()
    assert "until Monday, 5 March 2035, 18:00 CET (Europe/Berlin)." in told
    page = f"https://dam.test/dam/packages/{desk.package_id}"
    for version_id in packages.versions(desk.services, package_id=desk.package_id):
        assert f"{page}#{version_id}" in told
    assert told.rstrip().endswith(page)
    assert entries(desk) == [(BEA, "REQUEST", f"{desk.seat()}@airflow-dam", 0, desk.due)]
    assert opened(desk)["sent"] == 0  # a retry, a clear, a second signature that is asked for
    desk.tick(-48 * HOUR)
    assert entries(desk)[0][:4] == (BEA, "REQUEST", f"{desk.seat()}@airflow-dam", 0)
    desk.sign()
    desk.tick(-47 * HOUR)
    assert [entry[:2] for entry in entries(desk)] == [(BEA, "CANCEL")]
    with desk.services.session() as session:
        told = [(made.action, made.run) for made in history(session, desk.package_id) if made.action == "seat.told"]
    assert told == [("seat.told", "review_package/1")]


def test_a_deputy_who_is_named_later_is_told_when_it_is_asked_again(desk):
    opened(desk, "legal_reviewer")
    seats.away(desk.services, person="lena", start=utcnow() - HOUR, until=utcnow() + timedelta(days=9), deputy="ada")
    opened(desk, "legal_reviewer")
    assert [to for to, _ in desk.mails()] == [LENA, "ada@acme.example"]


def test_a_seat_that_nobody_may_sign_yet_tells_nobody(desk):
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET status = 'waiting', opens_at = NULL"))
    assert opened(desk)["sent"] == 0
    assert (desk.told(), desk.rows()) == ([], [])


def test_a_server_that_is_down_when_a_seat_opens_keeps_no_question_back(desk):
    desk.inbox.full = True
    assert opened(desk)["failed"] == 1
    assert entries(desk) == []
    with desk.services.session() as session:
        assert session.scalars(select(DeadlineInvitation)).all() == []
    desk.inbox.full = False
    desk.tick(-70 * HOUR)
    assert desk.told() == [BEA]


def test_what_could_not_be_told_gives_way_to_the_first_reminder(desk):
    desk.inbox.full = True
    opened(desk)
    desk.inbox.full = False
    desk.tick(-48 * HOUR)
    assert sorted(told.split(":")[0] for _, told in desk.mails()) == ["2 days left"] * 2
    [row] = [row for row in desk.rows() if row.kind == reminders.OPENED]
    assert (row.outcome, row.problem) == ("dropped", "a later reminder takes its place")


def test_the_chat_room_is_not_told_of_each_seat_that_opens(chatting):
    assert opened(chatting)["sent"] == 1
    assert chatting.room.texts == []


@pytest.mark.parametrize(
    ("due", "words"),
    [
        ({"days": 3, "calendar": "new_york"}, "Monday, 5 March 2035, 12:00 EST (America/New_York)"),
        ({"days": 3, "calendar": None}, "Monday, 5 March 2035, 18:00 CET (Europe/Berlin)"),
        ({"hours": 72}, "Monday, 5 March 2035, 18:00 CET (Europe/Berlin)"),
    ],
)
def test_a_deadline_is_told_on_the_clock_of_its_calendar(desk, due, words):
    workflow = desk.services.workflow
    known = workflow.calendars | {"new_york": WorkingCalendar(time_zone="America/New_York")}
    desk.services.__dict__["workflow"] = workflow.model_copy(update={"calendars": known})
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET due = :due"), {"due": json.dumps(due)})
    opened(desk)
    desk.tick(-24 * HOUR)
    desk.expire()
    desk.tick(4 * HOUR)
    told = [message.get_body((kind,)).get_content() for _, message in desk.inbox.mails for kind in ("plain", "html")]
    assert len(told) == 2 * 7  # opened; a day before, and at the deadline, each twice; escalated twice
    assert all(words in mailed.replace("\r\n", " ") for mailed in told)
    assert not any("UTC" in mailed for mailed in told)


# ------------------------------------------------------------------------------------------------- guests


@pytest.fixture
def guest(desk):
    """Eva, from outside, who may sign as legal reviewer; told of that by the newest mail."""
    workflow = desk.services.workflow
    rules = [rule.model_copy(update={"external": True}) for rule in workflow.seats]
    desk.services.__dict__["workflow"] = workflow.model_copy(update={"seats": rules})
    guests.invite(
        desk.services, package_id=desk.package_id, email="eva@studio.example", name="Eva Stein", person="maya",
        expires_at=utcnow() + timedelta(days=7), seat_id=desk.seat("legal_reviewer"),
    )  # fmt: skip
    with desk.services.session() as session:
        session.execute(text("UPDATE guests SET expires_at = :at"), {"at": desk.due + timedelta(days=2)})
    return "eva@studio.example"


def mail_to(desk: Desk, address: str) -> EmailMessage:
    [message] = [message for people, message in desk.inbox.mails if people == [address]]
    desk.inbox.mails.clear()
    return message


def token_in(message: EmailMessage) -> str | None:
    found = re.search(r"https://dam.test/dam/guest/([\w-]+)", message.get_body(("plain",)).get_content())
    return found[1] if found else None


def let_in(desk: Desk, token: str) -> str:
    """Give the one-time password and return the session's secret."""
    device = guests.send_code(desk.services, token=token, address=None)
    told = desk.inbox.mails.pop()[1].get_body(("plain",)).get_content()
    code = re.search(r"\d{4} \d{4}", told)[0]
    return guests.enter(desk.services, token=token, device=device, code=code)


def test_the_invitation_to_sign_has_the_deadline_and_a_calendar_file_that_tells_no_secret(desk, guest):
    message = mail_to(desk, guest)
    told = message.get_body(("plain",)).get_content()
    assert "and to sign, until Monday, 5 March 2035, 18:00 CET (Europe/Berlin)." in told
    [calendar] = calendars(message)
    [entry] = calendar.walk("VEVENT")
    assert entry["dtstart"].dt == desk.due
    assert "url" not in entry
    assert token_in(message) not in calendar.to_ical().decode()
    with desk.services.session() as session:
        session.execute(text("UPDATE guests SET invited_at = :at"), {"at": desk.due - 71.5 * HOUR})
    assert opened(desk, "legal_reviewer")["sent"] == 1  # Eva was told by her invitation
    assert desk.told() == [LENA]


def test_a_guest_of_a_later_stage_is_told_when_it_opens_by_a_link_that_works(desk, guest):
    first = token_in(mail_to(desk, guest))
    opened(desk, "legal_reviewer")
    message = mail_to(desk, guest)
    assert subject(message).startswith("Your signature is needed")
    assert token_in(message) != first
    assert guests.knock(desk.services, token=token_in(message), address=None).person == f"guest:{guest}"


def test_a_reminder_leads_a_guest_in_by_a_new_link_and_the_old_one_ends(desk, guest):
    first = token_in(mail_to(desk, guest))
    desk.tick(-24 * HOUR)
    message = mail_to(desk, guest)
    second = token_in(message)
    told = message.get_body(("plain",)).get_content()
    assert second != first
    assert "no longer works" in told
    assert "/dam/packages/" not in told
    for version_id in packages.versions(desk.services, package_id=desk.package_id):
        assert f"https://dam.test/dam/guest/{second}#{version_id}" in told
        assert f"/dam/guest/{second}#{version_id}" in message.get_body(("html",)).get_content()
    with pytest.raises(guests.NoSuchLink):
        guests.knock(desk.services, token=first, address=None)
    assert let_in(desk, second)
    assert second not in calendars(message)[0].to_ical().decode()
    with desk.services.session() as session:
        told = [made.data for made in history(session, desk.package_id) if made.action == "guest.link_renewed"]
        kept = repr([vars(row) for row in session.scalars(select(Guest))]) + repr(told)
    assert [row["guest"] for row in told] == [f"guest:{guest}"]
    assert second not in kept
    assert verify(desk.services).ok


def test_who_is_at_work_in_the_room_keeps_the_link(desk, guest):
    token = token_in(mail_to(desk, guest))
    secret = let_in(desk, token)
    with desk.services.session() as session:
        session.execute(text("UPDATE guest_sessions SET seen_at = :at"), {"at": desk.due - 24.5 * HOUR})
        session.execute(text("UPDATE guests SET linked_at = '2035-03-01 08:00+00'"))
    desk.tick(-24 * HOUR)
    message = mail_to(desk, guest)
    told = message.get_body(("plain",)).get_content()
    assert "use the link that you were sent on Thursday, 1 March 2035, 09:00 CET (Europe/Berlin)" in told
    assert "https://" not in told
    assert guests.session_of(desk.services, token=token, secret=secret)
    desk.tick(-4 * HOUR)  # hours later they have gone: the browser that was let in has to ask again
    renewed = token_in(mail_to(desk, guest))
    with pytest.raises(guests.NoSuchLink):
        guests.session_of(desk.services, token=token, secret=secret)
    assert guests.session_of(desk.services, token=renewed, secret=secret) is None


def test_a_mail_that_fails_leaves_the_guests_link_as_it_was(desk, guest):
    token = token_in(mail_to(desk, guest))
    desk.inbox.full = True
    with pytest.raises(mail.MailFailed):
        desk.tick(-24 * HOUR)
    desk.inbox.full = False
    assert guests.knock(desk.services, token=token, address=None)
    with desk.services.session() as session:
        assert not [made for made in history(session, desk.package_id) if made.action == "guest.link_renewed"]
    desk.tick(-23 * HOUR)
    assert guests.knock(desk.services, token=token_in(mail_to(desk, guest)), address=None)


@pytest.mark.parametrize("ended", ["expires_at = '2035-03-01'", "revoked_at = now(), revoked_by = 'maya'"])
def test_a_link_that_has_ended_is_not_brought_back(desk, guest, ended):
    mail_to(desk, guest)
    with desk.services.session() as session:
        session.execute(text(f"UPDATE guests SET {ended}"))
        before = session.scalars(select(Guest.token_sha256)).all()
    desk.tick(-24 * HOUR)
    message = mail_to(desk, guest)
    assert token_in(message) is None
    assert "Your link has ended. Ask " in message.get_body(("plain",)).get_content()
    with desk.services.session() as session:
        assert session.scalars(select(Guest.token_sha256)).all() == before


def test_after_the_deadline_a_guest_gets_no_new_link(desk, guest):
    token = token_in(mail_to(desk, guest))
    desk.expire()
    desk.tick(HOUR)
    message = mail_to(desk, guest)
    assert "https://" not in message.get_body(("plain",)).get_content()
    assert "It can't be signed any more" in message.get_body(("plain",)).get_content()
    assert guests.knock(desk.services, token=token, address=None)  # they may still look


# -------------------------------------------------------------------------------------------- escalation


def test_silence_is_escalated_and_approves_nothing(desk):
    desk.expire()
    assert packages.verdict(desk.services, package_id=desk.package_id)["status"] == "expired"
    desk.tick(4 * HOUR)
    escalated = [message for people, message in desk.inbox.mails if people == [MAYA]]
    assert [subject(message) for message in escalated] == [
        f"Nobody signed: Spring 2027: 2 versions for the {role} reviewer, round 1" for role in ("brand", "legal")
    ]
    told = escalated[0].get_body(("plain",)).get_content()
    assert "Asked: Bea Okafor." in told
    assert "name a deputy for who is away, then ask again" in told
    assert calendars(escalated[0]) == []
    # what the mail says can be done, can be done
    assert packages.reopen_expired(desk.services, package_id=desk.package_id, person="maya")


def test_who_is_told_of_silence_may_name_a_deputy_but_not_themselves(desk):
    away = {"person": "lena", "start": utcnow(), "until": utcnow() + timedelta(days=9)}
    with pytest.raises(Refused, match="may not take the seats of lena by their own word"):
        seats.away(desk.services, **away, deputy="maya", by="maya")
    with pytest.raises(Refused, match="may not enter when lena is away"):
        seats.away(desk.services, **away, deputy="ada", by="dario")
    desk.expire()
    packages.verdict(desk.services, package_id=desk.package_id)
    seats.away(desk.services, **away, deputy="ada", by="maya")
    again = packages.reopen_expired(desk.services, package_id=desk.package_id, person="maya")
    rows = {row["role"]: row for row in packages.seats(desk.services, package_id=again)}
    assert rows["legal_reviewer"]["deputies"] == {"ada": "lena"}
    told = seats.decide(desk.services, seat_id=rows["legal_reviewer"]["seat_id"], person="ada", verdict="approve")
    assert told["person"] == "ada"
    desk.policy()  # nobody is told of silence: only DAM admins may
    with pytest.raises(Refused, match="may not enter"):
        seats.away(desk.services, **away, deputy="ada", by="maya")


def test_the_campaigns_own_lead_is_told(desk):
    workflow = desk.services.workflow
    mira = workflow.people["maya"].model_copy(update={"username": "mira", "email": "mira@acme.example"})
    desk.services.__dict__["workflow"] = workflow.model_copy(update={"people": workflow.people | {"mira": mira}})
    desk.tick(4 * HOUR)
    assert "mira@acme.example" not in desk.told()
    with desk.services.session() as session:
        session.execute(delete(Reminder))
        session.scalars(select(Campaign)).one().owners = {}
    desk.tick(4 * HOUR)
    assert desk.told().count("mira@acme.example") == 2


def test_without_a_policy_nobody_is_told(desk):
    desk.policy(before=[], at=False, after=[])
    for hours in (-48, -4, 0, 4, 24):
        desk.tick(hours * HOUR)
    assert desk.told() == []
    assert desk.rows() == []


# ------------------------------------------------------------------------------------------ who is told


def seat_json(**changes: Any) -> dict[str, Any]:
    seat = {
        "seat_id": "sea_1",
        "role": "legal_reviewer",
        "eligible": ["lena", "luis"],
        "deputies": {},
        "signatures": [],
    }
    return seat | changes


@pytest.mark.parametrize(
    ("changes", "taken", "people"),
    [
        ({}, [], ["lena", "luis"]),
        ({"deputies": {"dana": "lena"}}, [], ["lena", "luis", "dana"]),
        ({"deputies": {"luis": "lena"}}, [], ["lena", "luis"]),
        ({"signatures": [{"person": "lena", "on_behalf_of": None}]}, [], ["luis"]),
        ({"signatures": [{"person": "dana", "on_behalf_of": "lena"}], "deputies": {"dana": "lena"}}, [], ["luis"]),
        ({"deputies": {"dana": "lena"}}, ["lena"], ["luis"]),
        ({"deputies": {"dana": "lena"}}, ["dana"], ["lena", "luis"]),
        ({}, ["lena", "luis"], []),
    ],
)
def test_who_may_still_sign_is_told_and_so_are_deputies(changes, taken, people):
    assert reminders.people_to_tell(seat_json(**changes), taken) == people


def test_a_deputy_is_told_whom_they_stand_in_for(desk):
    seats.away(desk.services, person="lena", start=utcnow() - HOUR, until=utcnow() + timedelta(days=9), deputy="ada")
    desk.tick(-4 * HOUR)
    found = {people[0]: message.get_body(("plain",)).get_content() for people, message in desk.inbox.mails}
    assert set(found) == {BEA, LENA, "ada@acme.example"}
    assert "You are asked because you stand in for Lena Vogt." in found["ada@acme.example"]
    assert "stand in" not in found[LENA]
    desk.inbox.mails.clear()
    desk.sign("ada", "legal_reviewer")
    assert desk.tick(-3 * HOUR)["cancelled"] == 2  # hers, and that of the person she stood in for
    assert desk.told() == ["ada@acme.example", LENA]


def test_of_a_seat_of_two_who_signed_is_left_alone_and_who_took_it_back_is_not(desk):
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET needed = 2, eligible = '{lena, ada}' WHERE role = 'legal_reviewer'"))
    desk.tick(-48 * HOUR)
    assert desk.told() == ["ada@acme.example", BEA, LENA]
    desk.sign("lena", "legal_reviewer")
    assert desk.tick(-24 * HOUR)["cancelled"] == 1
    assert desk.told() == ["ada@acme.example", BEA, LENA]  # Lena hears that her entry is taken back
    seats.undo(desk.services, seat_id=desk.seat("legal_reviewer"), person="lena")
    desk.tick(-4 * HOUR)
    assert entries(desk)[-1][:2] == (LENA, "REQUEST")


def test_a_seat_of_a_later_stage_is_nobodys_matter_yet(desk):
    with desk.services.session() as session:
        session.execute(
            text("UPDATE seats SET status = 'waiting', stage = 2, opens_at = NULL WHERE role = 'legal_reviewer'")
        )
    desk.tick(-4 * HOUR)
    assert desk.told() == [BEA]


def test_who_is_nobody_any_more_keeps_no_other_back(desk):
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET eligible = '{gone, lena}' WHERE role = 'legal_reviewer'"))
    assert desk.tick(-4 * HOUR)["dropped"] == 1
    assert desk.told() == [BEA, LENA]
    [row] = [row for row in desk.rows() if row.person == "gone"]
    assert "There is no person gone." in row.problem


# ---------------------------------------------------------------------------------------------- calendar


def entries(desk: Desk) -> list[tuple[str, str, str, int, datetime]]:
    """Return address, method, UID, sequence and moment of each calendar entry that was mailed."""
    found = []
    for people, message in desk.inbox.mails:
        for calendar in calendars(message):
            [entry] = calendar.walk("VEVENT")
            found.append((people[0], calendar["method"], entry["uid"], entry["sequence"], entry["dtstart"].dt))
    desk.inbox.mails.clear()
    return found


def test_the_deadline_goes_into_the_calendar_with_an_alarm(desk):
    desk.tick(-24 * HOUR)
    message = desk.inbox.mails[0][1]
    [calendar] = calendars(message)
    [entry] = calendar.walk("VEVENT")
    assert (calendar["method"], entry["status"]) == ("REQUEST", "CONFIRMED")
    assert entry["dtstart"].dt == desk.due
    assert entry["url"] == f"https://dam.test/dam/packages/{desk.package_id}"
    assert (str(entry["organizer"]), str(entry["attendee"])) == ("mailto:dam@acme.example", f"mailto:{BEA}")
    [alarm] = entry.walk("VALARM")
    assert alarm["trigger"].dt == timedelta(hours=-4)


def test_a_guest_is_named_by_their_address(desk):
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET eligible = '{guest:eva@agency.example}' WHERE role = 'legal_reviewer'"))
    desk.tick(-24 * HOUR)
    [message] = [message for people, message in desk.inbox.mails if people == ["eva@agency.example"]]
    [calendar] = calendars(message)
    [entry] = calendar.walk("VEVENT")
    assert str(entry["attendee"]) == "mailto:eva@agency.example"
    assert entry["attendee"].params["cn"] == "eva@agency.example"


def test_the_entry_keeps_its_uid_and_moves_with_the_deadline(desk):
    desk.tick(-48 * HOUR)
    desk.tick(-24 * HOUR)
    told = [entry for entry in entries(desk) if entry[0] == BEA]
    assert [(method, sequence) for _, method, _, sequence, _ in told] == [("REQUEST", 0), ("REQUEST", 0)]
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET due_at = due_at + interval '10 hours'"))
    desk.tick(-14 * HOUR)
    moved = [entry for entry in entries(desk) if entry[0] == BEA]
    assert [(method, sequence, at) for _, method, _, sequence, at in moved] == [("REQUEST", 1, desk.due + 10 * HOUR)]
    assert {uid for _, _, uid, _, _ in told + moved} == {f"{desk.seat()}@airflow-dam"}


def test_a_seat_that_closes_takes_its_entry_back_once(desk):
    desk.tick(-24 * HOUR)
    entries(desk)
    desk.sign("bea")
    assert desk.tick(-23 * HOUR)["cancelled"] == 1
    [(to, method, uid, sequence, at)] = entries(desk)
    assert (to, method, uid, sequence, at) == (BEA, "CANCEL", f"{desk.seat()}@airflow-dam", 1, desk.due)
    assert desk.tick(-22 * HOUR)["cancelled"] == 0
    desk.sign("lena", "legal_reviewer", verdict="reject")
    desk.tick(-21 * HOUR)
    assert [entry[:2] for entry in entries(desk)] == [(LENA, "CANCEL")]


def test_a_seat_that_opens_again_goes_into_the_calendar_again(desk):
    desk.tick(-24 * HOUR)
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET status = 'void'"))
    desk.tick(-23 * HOUR)
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET status = 'open'"))
    desk.tick(-4 * HOUR)
    found = [(method, sequence) for to, method, _, sequence, _ in entries(desk) if to == BEA]
    assert found == [("REQUEST", 0), ("CANCEL", 1), ("REQUEST", 2)]


def test_what_is_past_stays_in_the_calendar(desk):
    desk.tick(-4 * HOUR)
    desk.expire()
    entries(desk)
    desk.tick(HOUR)
    assert entries(desk) == []
    assert desk.told() == []
    with desk.services.session() as session:
        assert {row.standing for row in session.scalars(select(DeadlineInvitation))} == {True}


# -------------------------------------------------------------------------------------------------- chat


def test_the_chat_room_hears_of_a_seat_once_not_once_a_person(chatting):
    chatting.tick(-4 * HOUR)
    assert chatting.room.texts == [
        "4 hours left: Spring 2027: 2 versions for the brand reviewer, round 1. Asked: Bea Okafor."
        f"\nhttps://dam.test/dam/packages/{chatting.package_id}",
        "4 hours left: Spring 2027: 2 versions for the legal reviewer, round 1. Asked: Lena Vogt."
        f"\nhttps://dam.test/dam/packages/{chatting.package_id}",
    ]
    chatting.tick(-3 * HOUR)
    assert len(chatting.room.texts) == 2
    chatting.tick(5 * HOUR)
    assert sorted(told.split(":")[0] for told in chatting.room.texts[2:]) == [
        "Not signed in time", "Not signed in time", "Still not signed, 5 hours after the deadline",
        "Still not signed, 5 hours after the deadline",
    ]  # fmt: skip


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_room_that_fails_keeps_no_mail_back_and_is_tried_again(chatting, status):
    chatting.room.status = status
    assert chatting.tick(-4 * HOUR) == {"sent": 2, "off": 0, "dropped": 0, "cancelled": 0, "failed": 1}
    assert chatting.told() == [BEA, LENA]
    chatting.room.status = 200
    assert chatting.tick(-3 * HOUR)["sent"] == 2
    assert (len(chatting.room.texts), chatting.told()) == (2, [])


def test_a_room_that_is_gone_gives_up_when_the_next_mark_comes(chatting):
    chatting.room.status = 410
    for hours in (-24, -23, -4, -3):
        chatting.tick(hours * HOUR)
    old = [row for row in chatting.rows() if row.person == reminders.CHAT and row.kind == "before_24h"]
    assert {(row.outcome, row.problem) for row in old} == {("dropped", "a later reminder takes its place")}


# ------------------------------------------------------------------------------------------- the record


def test_each_message_is_on_record_and_in_the_audit_trail(desk):
    desk.tick(-4 * HOUR)
    desk.tick(4 * HOUR)
    assert [(row.kind, row.person, row.outcome, row.run) for row in desk.rows()][:2] == [
        ("before_4h", "bea", "sent", "review_reminders/1"),
        ("before_4h", "lena", "sent", "review_reminders/1"),
    ]
    with desk.services.session() as session:
        told = [
            (made.action, made.data["kind"], made.data["to"])
            for made in history(session, desk.package_id)
            if made.action.startswith("seat.")
        ]
    assert told.count(("seat.escalated", "escalate_4h", "maya")) == 2
    assert ("seat.reminded", "before_4h", "lena") in told
    assert verify(desk.services).ok


def test_without_a_mail_server_the_record_says_so(desk):
    silent = Services(replace(desk.services.settings, smtp_url=""))
    told = reminders.remind(silent, now=desk.due - 4 * HOUR)
    assert (told["sent"], told["off"]) == (0, 2)
    assert {row.outcome for row in desk.rows()} == {"off"}
    assert reminders.remind(silent, now=desk.due - 3 * HOUR)["off"] == 0
    silent.engine.dispose()


def test_a_mail_server_that_is_down_is_tried_again_and_not_for_ever(desk):
    working = desk.services.settings.smtp_url
    down = Services(replace(desk.services.settings, smtp_url="smtp://127.0.0.1:9"))
    with pytest.raises(mail.MailFailed, match="2 mails were not sent"):
        reminders.remind(down, now=desk.due - 4 * HOUR)
    assert {(row.tries, row.outcome) for row in desk.rows()} == {(1, None)}
    up = Services(replace(down.settings, smtp_url=working))
    assert reminders.remind(up, now=desk.due + HOUR) == {
        "sent": 2, "off": 0, "dropped": 2, "cancelled": 0, "failed": 0,
    }  # fmt: skip
    assert {subject.split(":")[0] for _, subject in desk.mails()} == {"Not signed in time"}
    down.engine.dispose()
    up.engine.dispose()


def test_one_address_that_is_refused_keeps_no_other_back(desk):
    workflow = desk.services.workflow
    bea = workflow.people["bea"].model_copy(update={"email": "bea@gone.example"})
    desk.services.__dict__["workflow"] = workflow.model_copy(update={"people": workflow.people | {"bea": bea}})
    for _ in range(2):
        with pytest.raises(mail.MailFailed, match="1 mails were not sent"):
            desk.tick(-4 * HOUR)
    assert desk.told() == [LENA]


def test_ticks_at_once_tell_each_once(chatting):
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: chatting.tick(-4 * HOUR), range(4)))
    assert sum(counts["sent"] for counts in told) == 4
    assert chatting.told() == [BEA, LENA]
    assert len(chatting.room.texts) == 2


# ------------------------------------------------------------------------------------------- its price


def test_closed_seats_are_not_read(desk):
    """What a tick reads is what is due: the plan of each query starts from the seats around their deadline."""
    with desk.services.session() as session:
        session.execute(
            text(
                "INSERT INTO packages (id, batch_id, purpose, round, status, manifest, manifest_sha256, rest,"
                " frozen_at, closed_at)"
                " SELECT 'pkg_old' || n, batch_id, 'release', n, 'approved', '{}', repeat('0', 64), 'goes_on', now(),"
                " now()"
                " FROM packages, generate_series(2, 20001) AS n WHERE follows_id IS NULL AND round = 1"
            )
        )
        session.execute(
            text(
                "INSERT INTO seats (id, package_id, ordinal, role, veto, status, stage, needed, due, eligible,"
                " opens_at, due_at)"
                " SELECT 'sea_old' || n, 'pkg_old' || n, 0, 'legal_reviewer', true, 'signed', 1, 1, '{}', '{lena}',"
                " now(), :due"
                " FROM generate_series(2, 20001) AS n"
            ),
            {"due": desk.due},
        )
        session.execute(text("ANALYZE"))
    statements: list[str] = []
    engine = desk.services.engine

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith("SELECT seats.id") and "reminders.minutes" in statement:
            plan = cursor.connection.execute(f"EXPLAIN {statement}", parameters).fetchall()
            statements.append("\n".join(row[0] for row in plan))

    event.listen(engine, "after_cursor_execute", note)
    desk.tick(-4 * HOUR)
    event.remove(engine, "after_cursor_execute", note)
    assert len(statements) == len(desk.services.workflow.reminders.marks())
    for plan in statements:
        assert "ix_seats_open" in plan or "ix_seats_unsigned" in plan, plan
        assert "Seq Scan on seats" not in plan
        assert "Seq Scan on packages" not in plan
    assert desk.told() == [BEA, LENA]


# --------------------------------------------------------------------------------------------- for ever


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def killer(monkeypatch):
    """Lets a tick die at a chosen mail: before it is handed over, or right after, before anything is noted."""
    plan: dict[str, Any] = {"at": None, "after": False, "doubled": 0}
    real = mail.send

    def send(*args: Any, **more: Any) -> bool:
        if plan["at"] is not None:
            plan["at"] -= 1
            if plan["at"] < 0:
                plan["at"] = None
                if plan["after"]:
                    real(*args, **more)
                    plan["doubled"] += 1
                raise Killed
        return real(*args, **more)

    monkeypatch.setattr(mail, "send", send)
    return plan


TICKS = st.lists(
    st.tuples(
        st.integers(-60 * 4, 60 * 4).map(lambda quarter: quarter * timedelta(minutes=15)),
        st.none() | st.tuples(st.integers(0, 3), st.booleans()),
    ),
    min_size=1,
    max_size=12,
)
POLICIES = st.fixed_dictionaries(
    {
        "before": st.lists(st.sampled_from(["48h", "24h", "90m", "4h", "15m"]), unique=True, max_size=4),
        "at": st.booleans(),
        "after": st.lists(st.sampled_from(["1h", "24h", "2d"]), unique=True, max_size=2),
        "escalate": st.none() | st.just({"after": "4h", "to": "marketing_lead"}),
    }
)


def due_now(policy: Reminders, after: timedelta) -> set[tuple[str, timedelta]]:
    """Return audience and offset of what is due at a moment, said anew: the last moment of each audience's list."""
    moments = [-span.length for span in policy.before if after < timedelta()]
    moments += [timedelta()] if policy.at and after >= timedelta() else []
    moments += [span.length for span in policy.after if after >= timedelta()]
    past = [moment for moment in moments if moment <= after]
    found = {("seat", max(past))} if past else set()
    if policy.escalate and policy.escalate.after.length <= after:
        found.add(("escalation", policy.escalate.after.length))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(POLICIES, TICKS)
def test_each_due_reminder_once_whatever_ticks_kills_and_clocks_do(desk, killer, written, ticks):
    desk.policy(**written)
    policy = desk.services.workflow.reminders
    with desk.services.session() as session:
        session.execute(text("UPDATE seats SET opens_at = :at"), {"at": desk.due - 1000 * HOUR})
        session.execute(delete(Reminder))
        session.execute(delete(DeadlineInvitation))
    desk.inbox.mails.clear()
    killer |= {"at": None, "doubled": 0}
    furthest: dict[str, timedelta] = {}
    expected: set[tuple[str, timedelta]] = set()
    for after, kill in ticks:
        killer["at"], killer["after"] = kill or (None, False)
        for audience, offset in due_now(policy, after):
            if offset > furthest.get(audience, timedelta.min):  # never an earlier one after a later one
                furthest[audience] = offset
                expected.add((audience, offset))
        try:
            desk.tick(after)
        except Killed:
            desk.tick(after)  # the next tick, without a kill
        killer["at"] = None
    rows = desk.rows()
    # each that was due is on record, once a person, and nothing else is
    assert {(row.audience, timedelta(minutes=row.minutes)) for row in rows} == expected
    assert len({(row.seat_id, row.kind, row.person) for row in rows}) == len(rows)
    assert len(rows) == 2 * len(expected)  # one person a seat, one lead for each seat
    # each was delivered; twice only where the kill came between the server's word and our note, then as the same
    ids = [str(message["Message-ID"]) for _, message in desk.inbox.mails]
    assert set(ids) == {f"<{row.id}@dam>" for row in rows if row.outcome == "sent"}
    assert {row.outcome for row in rows} <= {"sent"}
    assert len(ids) - len(set(ids)) == killer["doubled"]
