"""External reviewers: who may be invited, what opens the door and what does not, and the rules of seats for them."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, update

import world
from dam import audit
from dam.catalog.models import (
    AuditEvent,
    Batch,
    Brief,
    Guest,
    GuestCode,
    GuestSession,
    RateLimit,
    Rendition,
    Seat,
    utcnow,
)
from dam.errors import BadInput, DamError, NotFound, Refused
from dam.limits import TooOften, take
from dam.plan import briefs, documents
from dam.renditions import watermark
from dam.review import annotations, guests, packages, record, seats
from dam.services import Services
from dam.settings import PROJECT
from postbox import postbox

EVA = "eva@studio.example"


@pytest.fixture
def box():
    with postbox() as made:
        yield made


@pytest.fixture
def open_services(services, box, tmp_path):
    """Services with a mail server, and a workflow whose seats of legal and, on briefs, marketing are for externals."""
    include = tmp_path / "include"
    shutil.copytree(PROJECT / "include", include)
    workflow = include / "templates" / "workflow.yaml"
    text = workflow.read_text()
    assert "{role: legal_reviewer, " in text
    for role in ("legal_reviewer", "marketing_lead"):
        text = text.replace(f"{{role: {role}, ", f"{{role: {role}, external: true, ")
    workflow.write_text(text)
    made = Services(replace(services.settings, include=include, smtp_url=box.url, web_url="https://dam.example"))
    yield made
    made.engine.dispose()


def invite(services, package_id, email=EVA, **more):
    given = {"name": "Eva Stein", "person": "maya", "expires_at": utcnow() + timedelta(days=7)} | more
    return guests.invite(services, package_id=package_id, email=email, **given)


def seat_of(services, package_id, role):
    return next(seat for seat in packages.seats(services, package_id=package_id) if seat["role"] == role)


def enter(services, box):
    """Go in by the newest link; return the link's secret, the session's and the guest."""
    token = box.token()
    device = guests.send_code(services, token=token, address="203.0.113.9")
    secret = guests.enter(services, token=token, device=device, code=box.code(), address="203.0.113.9")
    return token, secret, guests.session_of(services, token=token, secret=secret)


def actions(services, package_id):
    with services.session() as session:
        chosen = select(AuditEvent).where(AuditEvent.subject_id == package_id).order_by(AuditEvent.seq)
        return [(row.actor, row.action) for row in session.scalars(chosen)]


# ------------------------------------------------------------------------------------------------- invite


def test_an_invitation_goes_by_mail_and_its_secret_is_nowhere_else(open_services, package_id, box):
    guest_id = invite(open_services, package_id, email="  Eva@Studio.example ", name=" Eva   Stein ")
    [(to, message)] = box.mails
    assert to == [EVA]
    assert message["Subject"] == "Maya Lindqvist invites you to a review: Spring 2027"
    assert box.link().startswith("https://dam.example/dam/guest/")
    token = box.token()
    assert len(token) == 43
    with open_services.session() as session:
        row = session.get_one(Guest, guest_id)
        assert (row.email, row.name) == (EVA, "Eva Stein")
        kept = repr([vars(row)]) + repr([event.data for event in session.scalars(select(AuditEvent))])
    assert token not in kept
    [told] = guests.of_package(open_services, package_id=package_id)
    assert (told["status"], told["invited_by"], told["role"]) == ("invited", "maya", None)
    assert ("maya", "guest.invited") in actions(open_services, package_id)


@pytest.mark.parametrize("person", ["bea", "dario", "vic", "nobody"])
def test_only_marketing_leads_and_admins_invite_and_revoke(open_services, package_id, person):
    with pytest.raises(Refused, match="may not invite"):
        invite(open_services, package_id, person=person)
    guest_id = invite(open_services, package_id, person="ada")
    with pytest.raises(Refused, match="may not invite"):
        guests.revoke(open_services, guest_id=guest_id, person=person)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"email": "eva"}, "no e-mail address"),
        ({"email": "eva@x.example, all@acme.example"}, "no e-mail address"),
        ({"email": "eva@x.example\r\nBcc: all@acme.example"}, "no e-mail address"),
        ({"email": "e" * 260 + "@x.example"}, "no e-mail address"),
        ({"name": " "}, "no name"),
        ({"name": "E" * 101}, "no name"),
        ({"name": "Eva\x00"}, "no name"),
        ({"expires_at": utcnow() - timedelta(minutes=1)}, "within a month"),
        ({"expires_at": utcnow() + timedelta(days=31)}, "within a month"),
        ({"expires_at": utcnow().replace(tzinfo=None) + timedelta(days=1)}, "within a month"),
    ],
)
def test_a_card_that_is_not_usable_is_refused(open_services, package_id, box, wrong, words):
    with pytest.raises(BadInput, match=words):
        invite(open_services, package_id, **wrong)
    assert box.mails == []


def test_nobody_with_a_log_in_is_invited_under_a_second_name(open_services, package_id):
    with pytest.raises(Refused, match="bea has a log-in"):
        invite(open_services, package_id, email="BEA@acme.example")


def test_without_a_mail_server_or_with_one_that_is_down_nobody_is_invited(services, open_services, package_id):
    with pytest.raises(Refused, match="no mail can be sent"):
        invite(services, package_id)
    down = Services(replace(open_services.settings, smtp_url="smtp://127.0.0.1:9"))
    with pytest.raises(DamError, match="was not sent"):
        invite(down, package_id)
    assert [row["status"] for row in guests.of_package(down, package_id=package_id)] == ["revoked"]
    down.engine.dispose()


def test_a_decided_package_takes_no_guests_and_unknown_things_are_not_there(open_services, package_id):
    with pytest.raises(NotFound):
        invite(open_services, "pkg_x")
    with pytest.raises(NotFound):
        guests.revoke(open_services, guest_id="gst_x", person="maya")
    world.sign_all(open_services, package_id)
    with pytest.raises(Refused, match="the review is over"):
        invite(open_services, package_id)


def test_a_second_link_ends_the_first(open_services, package_id, box):
    invite(open_services, package_id)
    first, _, visitor = enter(open_services, box)
    invite(open_services, package_id)
    with pytest.raises(guests.NoSuchLink):
        guests.knock(open_services, token=first, address=None)
    assert enter(open_services, box)[2].guest_id != visitor.guest_id


# ----------------------------------------------------------------------------------------------- the door


def test_a_link_and_a_password_open_one_package_until_it_is_over(open_services, package_id, box):
    invite(open_services, package_id)
    token, secret, visitor = enter(open_services, box)
    assert (visitor.person, visitor.package_id) == (f"guest:{EVA}", package_id)
    assert guests.of_package(open_services, package_id=package_id)[0]["status"] == "visited"
    world.sign_all(open_services, package_id)
    with pytest.raises(guests.NoSuchLink):
        guests.session_of(open_services, token=token, secret=secret)
    assert guests.of_package(open_services, package_id=package_id)[0]["status"] == "closed"


def test_a_link_ends_when_it_expires_or_is_revoked_and_the_session_with_it(open_services, package_id, box):
    guest_id = invite(open_services, package_id)
    token, secret, _ = enter(open_services, box)
    with open_services.session() as session:
        session.execute(update(Guest).values(expires_at=utcnow() - timedelta(seconds=1)))
    with pytest.raises(guests.NoSuchLink):
        guests.session_of(open_services, token=token, secret=secret)
    with open_services.session() as session:
        session.execute(update(Guest).values(expires_at=utcnow() + timedelta(days=1)))
    assert guests.session_of(open_services, token=token, secret=secret)
    guests.revoke(open_services, guest_id=guest_id, person="ada")
    guests.revoke(open_services, guest_id=guest_id, person="maya")
    with pytest.raises(guests.NoSuchLink):
        guests.session_of(open_services, token=token, secret=secret)
    assert actions(open_services, package_id).count(("ada", "guest.revoked")) == 1
    assert ("maya", "guest.revoked") not in actions(open_services, package_id)


def test_a_password_is_for_its_browser_works_once_and_the_newest_counts(open_services, package_id, box):
    invite(open_services, package_id)
    token = box.token()
    device = guests.send_code(open_services, token=token, address=None)
    code = box.code()
    other = guests.send_code(open_services, token=token, address=None)
    for wrong in ({"device": other, "code": code}, {"device": "", "code": code}, {"device": device, "code": ""}):
        with pytest.raises(guests.WrongCode):
            guests.enter(open_services, token=token, **wrong)
    assert guests.enter(open_services, token=token, device=device, code=code.replace(" ", ""))
    with pytest.raises(guests.WrongCode):  # replayed
        guests.enter(open_services, token=token, device=device, code=code)
    told = actions(open_services, package_id)
    assert told.count((f"guest:{EVA}", "guest.refused")) == 4
    assert told.count((f"guest:{EVA}", "guest.entered")) == 1


def test_a_password_is_dead_after_ten_minutes(open_services, package_id, box):
    invite(open_services, package_id)
    token = box.token()
    device = guests.send_code(open_services, token=token, address=None)
    with open_services.session() as session:
        [row] = session.scalars(select(GuestCode))
        assert row.expires_at - row.made_at <= timedelta(minutes=10)
        row.expires_at = utcnow()
    with pytest.raises(guests.WrongCode):
        guests.enter(open_services, token=token, device=device, code=box.code())


def wrong_code(right):
    return f"{(int(right.replace(' ', '')) + 1) % 10**8:08d}"


def test_after_five_tries_even_the_right_password_is_none(open_services, package_id, box):
    invite(open_services, package_id)
    token = box.token()
    device = guests.send_code(open_services, token=token, address=None)
    for _ in range(5):
        with pytest.raises(guests.WrongCode):
            guests.enter(open_services, token=token, device=device, code=wrong_code(box.code()))
    with pytest.raises(guests.WrongCode):
        guests.enter(open_services, token=token, device=device, code=box.code())


def test_guessing_on_with_new_passwords_is_stopped_for_an_hour(open_services, package_id, box):
    invite(open_services, package_id)
    token, tried = box.token(), 0

    def guess():
        nonlocal tried
        device = guests.send_code(open_services, token=token, address=None)
        for _ in range(5):
            with pytest.raises(guests.WrongCode):
                guests.enter(open_services, token=token, device=device, code=wrong_code(box.code()))
            tried += 1

    for _ in range(4):
        guess()
    assert tried == guests.TRIES == 20
    device = guests.send_code(open_services, token=token, address=None)
    with pytest.raises(TooOften):  # even with the right one
        guests.enter(open_services, token=token, device=device, code=box.code())
    guests.send_code(open_services, token=token, address=None)
    for _ in range(5):
        with pytest.raises(TooOften):  # nor is the mailbox flooded
            guests.send_code(open_services, token=token, address=None)
    assert len(box.mails) <= 1 + guests.CODES


def test_links_are_not_found_by_trying(open_services, package_id, box):
    invite(open_services, package_id)
    for number in range(guests.BAD_LINKS):
        with pytest.raises(guests.NoSuchLink):
            guests.knock(open_services, token=f"x{number}", address="198.51.100.1")
    with pytest.raises(TooOften):
        guests.knock(open_services, token="y", address="198.51.100.1")
    assert guests.knock(open_services, token=box.token(), address="198.51.100.1")  # who has the right one comes in


def test_a_session_is_of_its_own_link_and_ends_when_one_leaves(open_services, package_id, box):
    invite(open_services, package_id)
    token, secret, _ = enter(open_services, box)
    invite(open_services, package_id, email="max@studio.example")
    others, other_secret, _ = enter(open_services, box)
    assert guests.session_of(open_services, token=others, secret=secret) is None
    assert guests.session_of(open_services, token=token, secret=other_secret) is None
    assert guests.session_of(open_services, token=token, secret="") is None
    guests.leave(open_services, token=token, secret=secret)
    assert guests.session_of(open_services, token=token, secret=secret) is None
    assert guests.session_of(open_services, token=others, secret=other_secret)


def test_no_secret_is_in_the_database(open_services, package_id, box):
    invite(open_services, package_id)
    token, secret, _ = enter(open_services, box)
    code = box.code()
    with open_services.session() as session:
        kept = repr([vars(row) for table in (Guest, GuestCode, GuestSession) for row in session.scalars(select(table))])
        kept += repr([row.data for row in session.scalars(select(AuditEvent))])
    assert not any(word in kept for word in (token, secret, code, code.replace(" ", "")))


def test_a_limit_counts_for_every_process_and_begins_anew_after_its_span(services):
    again = Services(services.settings)
    for asked in (services, again, services):
        take(asked, "x:1", most=3, per=timedelta(minutes=10))
    with pytest.raises(TooOften, match="10 minutes"):
        take(again, "x:1", most=3, per=timedelta(minutes=10))
    take(again, "x:2", most=3, per=timedelta(minutes=10))
    with services.session() as session:
        session.execute(update(RateLimit).values(since=utcnow() - timedelta(minutes=10)))
    take(services, "x:1", most=1, per=timedelta(minutes=10))
    again.engine.dispose()


# --------------------------------------------------------------------------------------------- look and act


@pytest.fixture
def shown(open_services, package_id, batch):
    """The package, with a real preview of its first version."""
    data = io.BytesIO()
    Image.new("RGB", (1600, 1000), "#808080").save(data, "JPEG")
    stored = open_services.storage.renditions.put("p.jpg", data.getvalue())
    with open_services.session() as session:
        session.add(
            Rendition(
                version_id=batch[1][0], recipe="preview", key="a" * 64, imaging_version="1", media_type="image/jpeg",
                width=1600, height=1000, bytes=stored.bytes, sha256=stored.sha256, storage_uri=stored.uri,
            )
        )  # fmt: skip
    return package_id, batch[1][0]


def test_a_proof_has_the_guests_mark_burnt_in_and_is_made_for_nobody_else(open_services, shown, box):
    package_id, version_id = shown
    invite(open_services, package_id)
    _, _, visitor = enter(open_services, box)
    known = {"version_id": version_id, "recipe": "preview", "address": None}
    seen = np.asarray(Image.open(io.BytesIO(guests.proof(open_services, visitor, **known))).convert("L"), dtype=int)
    assert seen.shape == (1000, 1600)
    for rows in np.array_split(seen, 5):
        for part in np.array_split(rows, 5, axis=1):  # wherever one would cut a piece out
            assert part.max() > 150
            assert part.min() < 110
    with open_services.session() as session:
        assert len(session.scalars(select(Rendition)).all()) == 1
    guests.proof(open_services, visitor, **known)
    assert actions(open_services, package_id).count((f"guest:{EVA}", "guest.looked")) == 1


@pytest.mark.parametrize("colour", ["black", "white", "#808080", "red"])
def test_the_mark_shows_on_every_colour_and_names_differ(colour):
    data = io.BytesIO()
    Image.new("RGB", (800, 600), colour).save(data, "PNG")
    marked = [
        np.asarray(Image.open(io.BytesIO(watermark.burn(data.getvalue(), text))).convert("L"), dtype=int)
        for text in ("Eva Stein · eva@studio.example", "Max Stein · max@studio.example")
    ]
    assert marked[0].max() - marked[0].min() > 60
    assert np.abs(marked[0] - marked[1]).max() > 40


@pytest.mark.parametrize("recipe", ["original", "webp", "proxy", "../preview", "page-0", "preview/..", ""])
def test_nothing_but_proofs_is_given_out(open_services, shown, box, recipe):
    invite(open_services, shown[0])
    _, _, visitor = enter(open_services, box)
    with pytest.raises(NotFound):
        guests.proof(open_services, visitor, version_id=shown[1], recipe=recipe, address=None)


def test_another_packages_version_is_not_there(open_services, shown, drop, box):
    batch_id, versions = drop(open_services, "northlight")
    other = packages.freeze(open_services, batch_id=batch_id, version_ids=versions)
    invite(open_services, other)
    _, _, visitor = enter(open_services, box)
    with pytest.raises(NotFound):
        guests.proof(open_services, visitor, version_id=shown[1], recipe="preview", address=None)
    with pytest.raises(NotFound):
        guests.comment(open_services, visitor, version_id=shown[1], body="Hello?")
    room = guests.room(open_services, visitor, address=None)
    assert [row["version_id"] for row in room["versions"]] == versions


def test_a_guest_reads_no_private_note_and_takes_back_only_their_own(open_services, shown, box):
    package_id, version_id = shown
    known = {"package_id": package_id, "version_id": version_id}
    annotations.add(open_services, **known, person="lena", body="Sue them.", audience="legal_reviewer")
    theirs = annotations.add(open_services, **known, person="bea", body="Too dark?")
    invite(open_services, package_id)
    _, _, visitor = enter(open_services, box)
    mine = guests.comment(open_services, visitor, version_id=version_id, body="Crop it.", kind="must_fix")
    assert (mine["author"], mine["guest"], mine["kind"]) == (f"guest:{EVA}", True, "must_fix")
    told = guests.room(open_services, visitor, address=None)["notes"]
    assert [row["body"] for row in told] == ["Too dark?", "Crop it."]
    for wrong in (theirs["annotation_id"], "ann_x"):
        with pytest.raises(NotFound):
            guests.take_back(open_services, visitor, annotation_id=wrong)
    guests.take_back(open_services, visitor, annotation_id=mine["annotation_id"])
    assert [row["body"] for row in guests.room(open_services, visitor, address=None)["notes"]] == ["Too dark?"]


def test_who_may_only_look_can_neither_comment_nor_sign_but_advise(open_services, shown, box):
    package_id, version_id = shown
    invite(open_services, package_id, may_comment=False)
    _, _, visitor = enter(open_services, box)
    with pytest.raises(Refused, match="to look"):
        guests.comment(open_services, visitor, version_id=version_id, body="Crop it.")
    with pytest.raises(Refused, match="not asked to sign"):
        guests.sign(open_services, visitor, verdict="approve", address=None)
    with pytest.raises(BadInput):
        guests.advise(open_services, visitor, verdict="yes", address=None)
    guests.advise(open_services, visitor, verdict="approve", address=None)
    guests.advise(open_services, visitor, verdict="reject", comment="Not like this.", address="203.0.113.9")
    [row] = guests.of_package(open_services, package_id=package_id)
    assert (row["advice"], row["advice_comment"], row["signed"]) == ("reject", "Not like this.", None)
    assert packages.verdict(open_services, package_id=package_id)["status"] is None
    assert actions(open_services, package_id).count((f"guest:{EVA}", "guest.advised")) == 2


def test_a_guest_who_writes_without_end_is_stopped(open_services, shown, box, monkeypatch):
    monkeypatch.setattr(guests, "ACTS", 3)
    invite(open_services, shown[0])
    _, _, visitor = enter(open_services, box)
    for number in range(3):
        guests.comment(open_services, visitor, version_id=shown[1], body=f"Note {number}")
    with pytest.raises(TooOften):
        guests.comment(open_services, visitor, version_id=shown[1], body="One more")
    assert len(guests.room(open_services, visitor, address=None)["notes"]) == 3


# -------------------------------------------------------------------------------------------------- sign


def test_a_guest_signs_the_seat_they_were_given_and_the_record_says_so(open_services, package_id, box):
    seat = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=seat["seat_id"])
    _, _, visitor = enter(open_services, box)
    guests.sign(open_services, visitor, verdict="approve", comment="Cleared.", address="203.0.113.9")
    brand = seat_of(open_services, package_id, "brand_reviewer")
    seats.decide(open_services, seat_id=brand["seat_id"], person="bea", verdict="approve")
    assert packages.verdict(open_services, package_id=package_id)["status"] == "approved"
    told = record.build(open_services, package_id=package_id)["record"]
    signed = next(row for row in told["decisions"] if row["role"] == "legal_reviewer")
    assert (signed["person"], signed["via"], signed["address"]) == (f"guest:{EVA}", "guest", "203.0.113.9")
    assert told["names"][f"guest:{EVA}"] == "Eva Stein"
    assert [row["email"] for row in told["guests"]] == [EVA]
    assert "token_sha256" not in told["guests"][0]
    assert {"guest.invited", "guest.password_sent", "guest.entered", "seat.signed"} <= {
        event["action"] for event in told["proof"]["events"]
    }
    assert audit.verify(open_services).ok


def test_only_seats_that_the_workflow_opens_can_be_given(open_services, package_id):
    brand = seat_of(open_services, package_id, "brand_reviewer")
    assert [row["role"] for row in guests.open_seats(open_services, package_id=package_id)] == ["legal_reviewer"]
    with pytest.raises(Refused, match="for people with a log-in"):
        invite(open_services, package_id, seat_id=brand["seat_id"])
    with pytest.raises(NotFound):
        invite(open_services, package_id, seat_id="sea_x")
    legal = seat_of(open_services, package_id, "legal_reviewer")
    seats.decide(open_services, seat_id=legal["seat_id"], person="lena", verdict="approve")
    with pytest.raises(Refused, match="is signed"):
        invite(open_services, package_id, seat_id=legal["seat_id"])


@pytest.mark.parametrize("sent_by", [EVA, EVA.upper()])
def test_a_guest_who_sent_a_version_is_given_no_seat(open_services, drop, sent_by):
    batch_id, versions = drop(open_services, sent_by)
    package_id = packages.freeze(open_services, batch_id=batch_id, version_ids=versions)
    legal = seat_of(open_services, package_id, "legal_reviewer")
    with pytest.raises(seats.SeatRefused, match="made or sent"):
        invite(open_services, package_id, seat_id=legal["seat_id"])


def test_a_guest_who_turns_out_to_be_the_maker_can_not_sign(open_services, package_id, batch, box):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    with open_services.session() as session:
        session.get_one(Batch, batch[0]).sent_by = EVA
    with pytest.raises(seats.SeatRefused, match="made or sent"):
        guests.sign(open_services, visitor, verdict="approve", address=None)


def test_a_seat_takes_one_signature_and_a_guest_signs_once(open_services, package_id, box):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    first = guests.sign(open_services, visitor, verdict="approve", address=None)
    again = guests.sign(open_services, visitor, verdict="reject", comment="No!", address=None)
    assert (again["decision_id"], again["verdict"]) == (first["decision_id"], "approve")
    with pytest.raises(seats.SeatRefused, match="has signed"):
        seats.decide(open_services, seat_id=legal["seat_id"], person="lena", verdict="approve")


def test_who_was_revoked_has_no_seat_any_more_and_what_they_signed_stays(open_services, package_id, box):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    guest_id = invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    guests.revoke(open_services, guest_id=guest_id, person="maya")
    with pytest.raises(seats.SeatRefused, match="may not take the seat"):
        guests.sign(open_services, visitor, verdict="approve", address=None)
    guest_id = invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    guests.sign(open_services, visitor, verdict="approve", address=None)
    guests.revoke(open_services, guest_id=guest_id, person="maya")
    assert seat_of(open_services, package_id, "legal_reviewer")["signed_by"] == visitor.person


def test_a_seat_that_is_closed_to_externals_meanwhile_and_a_guest_with_a_log_in_meanwhile(
    services, open_services, package_id, box
):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    with pytest.raises(seats.SeatRefused, match="for people with a log-in"):
        guests.sign(services, visitor, verdict="approve", address=None)  # the workflow as it was
    path = open_services.settings.include / "templates" / "workflow.yaml"
    path.write_text(path.read_text().replace("email: vic@acme.example", f"email: {EVA}"))
    fresh = Services(open_services.settings)
    with pytest.raises(seats.SeatRefused, match="vic has a log-in"):
        guests.sign(fresh, visitor, verdict="approve", address=None)
    fresh.engine.dispose()


def test_a_package_that_changed_is_not_signed_by_a_guest_either(open_services, package_id, batch, box):
    from dam.enrich import contracts

    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    token, secret, visitor = enter(open_services, box)
    contracts.fill(open_services, version_id=batch[1][0], values={"title": "Another"}, person="libby")
    with pytest.raises(seats.PackageVoid) as void:
        guests.sign(open_services, visitor, verdict="approve", address=None)
    with pytest.raises(guests.NoSuchLink):  # the next round is another package: it takes another invitation
        guests.session_of(open_services, token=token, secret=secret)
    with open_services.session() as session:
        eligible = session.scalars(select(Seat.eligible).where(Seat.package_id == void.value.next_package_id)).all()
    assert not any(person.startswith("guest:") for people in eligible for person in people)


def test_a_guest_signs_on_a_condition_which_others_see_and_tick_off(open_services, package_id, box):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    with pytest.raises(BadInput, match="only an approval has conditions"):
        guests.sign(
            open_services, visitor, verdict="reject", comment="No.", conditions="Name the photographer.", address=None
        )
    guests.sign(open_services, visitor, verdict="approve", conditions=" Name the photographer. ", address=None)
    [signed] = seat_of(open_services, package_id, "legal_reviewer")["signatures"]
    assert (signed["verdict"], signed["conditions"], signed["condition_met"]) == (
        "approve", "Name the photographer.", None,
    )  # fmt: skip
    seats.condition_met(open_services, decision_id=signed["decision_id"], person="lena", note="In the caption.")
    own = guests.room(open_services, visitor, address=None)["seat"]["signatures"][0]
    assert own["condition_met"]["person"] == "lena"


def test_advice_has_no_conditions(open_services, package_id, box):
    invite(open_services, package_id)
    _, _, visitor = enter(open_services, box)
    with pytest.raises(BadInput, match="has no conditions"):
        guests.advise(open_services, visitor, verdict="approve", conditions="Warmer.", address=None)


def test_a_guest_takes_a_signature_back_and_signs_again_until_the_seat_is_closed(open_services, package_id, box):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    with pytest.raises(seats.SeatRefused, match="has not signed"):
        guests.undo(open_services, visitor, address=None)
    assert not guests.room(open_services, visitor, address=None)["may_undo"]
    guests.sign(open_services, visitor, verdict="request_changes", address=None)
    assert guests.room(open_services, visitor, address=None)["may_undo"]
    told = guests.undo(open_services, visitor, address="203.0.113.9")
    assert (told["verdict"], told["seat_status"]) == ("request_changes", "open")
    guests.sign(open_services, visitor, verdict="approve", address=None)
    found = seat_of(open_services, package_id, "legal_reviewer")
    assert [row["verdict"] for row in found["signatures"]] == ["approve"]
    assert [row["verdict"] for row in found["withdrawn"]] == ["request_changes"]
    with open_services.session() as session:
        [back] = session.scalars(select(AuditEvent).where(AuditEvent.action == "seat.withdrawn"))
    assert (back.actor, back.data["via"], back.data["address"]) == (visitor.person, "guest", "203.0.113.9")
    brand = seat_of(open_services, package_id, "brand_reviewer")
    seats.decide(open_services, seat_id=brand["seat_id"], person="bea", verdict="approve")
    packages.verdict(open_services, package_id=package_id)
    with pytest.raises(seats.PackageClosed):
        guests.undo(open_services, visitor, address=None)
    assert audit.verify(open_services).ok


def test_a_guest_takes_no_signature_back_by_which_others_decide_already(open_services, package_id, box):
    legal = seat_of(open_services, package_id, "legal_reviewer")
    invite(open_services, package_id, seat_id=legal["seat_id"])
    _, _, visitor = enter(open_services, box)
    guests.sign(open_services, visitor, verdict="approve", address=None)
    with open_services.session() as session:
        session.execute(update(Seat).where(Seat.role == "brand_reviewer").values(stage=2))
    assert not guests.room(open_services, visitor, address=None)["may_undo"]
    with pytest.raises(seats.SeatRefused, match="the seat is closed"):
        guests.undo(open_services, visitor, address=None)


def test_a_guest_without_a_seat_has_nothing_to_take_back(open_services, package_id, box):
    invite(open_services, package_id)
    _, _, visitor = enter(open_services, box)
    with pytest.raises(Refused, match="not asked to sign"):
        guests.undo(open_services, visitor, address=None)


def test_a_guest_replies_to_what_they_may_read_and_to_nothing_else(open_services, shown, box):
    package_id, version_id = shown
    known = {"package_id": package_id, "version_id": version_id}
    theirs = annotations.add(open_services, **known, person="bea", body="Too dark?")
    private = annotations.add(open_services, **known, person="lena", body="Sue them.", audience="legal_reviewer")
    invite(open_services, package_id)
    _, _, visitor = enter(open_services, box)
    made = guests.comment(
        open_services, visitor, version_id=version_id, body="It is at dusk.", reply_to=theirs["annotation_id"]
    )
    assert (made["reply_to"], made["author"], made["kind"]) == (theirs["annotation_id"], visitor.person, "note")
    with pytest.raises((NotFound, BadInput)):
        guests.comment(open_services, visitor, version_id=version_id, body="?", reply_to=private["annotation_id"])
    shown_to = guests.room(open_services, visitor, address=None)["notes"]
    assert [row["body"] for row in shown_to] == ["Too dark?", "It is at dusk."]


def test_a_brief_is_signed_from_outside_where_its_own_seat_is_open(open_services, package_id, box):
    drafted = briefs.draft(open_services, form=world.form(slug="autumn", project="AUT"), drafted_by="momo")
    frozen = documents.freeze(open_services, brief_id=drafted["brief_id"])
    assert [seat["role"] for seat in guests.open_seats(open_services, package_id=frozen)] == ["marketing_lead"]
    assert [seat["role"] for seat in guests.open_seats(open_services, package_id=package_id)] == ["legal_reviewer"]
    invite(open_services, frozen, seat_id=seat_of(open_services, frozen, "marketing_lead")["seat_id"])
    _, _, eva = enter(open_services, box)
    assert guests.room(open_services, eva, address=None)["campaign"] == "Spring 2027: brief 1"
    guests.sign(open_services, eva, verdict="approve", address="203.0.113.9")
    assert packages.verdict(open_services, package_id=frozen)["status"] == "approved"
    with open_services.session() as session:
        signed = session.get_one(Brief, drafted["brief_id"])
        assert (signed.status, signed.signed_by) == ("signed", f"guest:{EVA}")
