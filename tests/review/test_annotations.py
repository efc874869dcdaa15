"""Notes: who may do what, threads, mentions, private notes, and how they travel to the next round."""

from __future__ import annotations

import hashlib

import jsonschema
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import world
from dam import audit
from dam.catalog.lifecycle import change_state
from dam.catalog.models import (
    Annotation,
    AuditEvent,
    Batch,
    Description,
    Package,
    Version,
    VersionState,
    utcnow,
)
from dam.errors import BadInput, NotFound, Refused
from dam.review import annotations, jsonld, packages, seats, targets

BOX = {"selector": {"type": "FragmentSelector", "value": "xywh=percent:10,20,30,40"}}
WRITERS = ("maya", "dario", "bea", "lena", "libby", "ada", "guest:eva@agency.example")


@pytest.fixture
def write(services, batch, package_id):
    """Writes a note on the package's first version."""

    def made(person="bea", body="The logo is too small.", **more):
        more = {"package_id": package_id, "version_id": batch[1][0]} | more
        return annotations.add(services, person=person, body=body, **more)

    return made


def notes(services, package_id, person="bea"):
    return annotations.of_package(services, package_id=package_id, person=person)


def told(services, package_id):
    """The audit events of a package's notes, oldest first."""
    with services.session() as session:
        events = audit.history(session, package_id)
        return [(event.action, event.actor, event.data) for event in reversed(events) if "annotation" in event.action]


def test_a_note_is_kept_answered_and_opened_again(services, batch, package_id, write):
    made = write(kind="must_fix", target=BOX)
    assert made["role"] == "brand_reviewer"
    assert made["author_name"] == "Bea Okafor"
    assert made["target"]["source"].startswith("urn:sha256:")
    assert made["target"]["selector"]["conformsTo"] == "http://www.w3.org/TR/media-frags/"
    assert (made["mine"], made["may"]) == (True, ["edit", "withdraw", "resolve", "reply"])
    known = {"annotation_id": made["annotation_id"]}
    done = annotations.resolve(services, **known, person="lena", resolution=" Bigger now. ")
    assert (done["status"], done["resolved_by"], done["resolution"]) == ("resolved", "lena", "Bigger now.")
    assert annotations.resolve(services, **known, person="maya")["resolved_by"] == "lena"
    assert notes(services, package_id, "lena")[0]["may"] == ["reopen", "reply"]
    again = annotations.reopen(services, **known, person="bea")
    assert (again["status"], again["resolved_by"], again["resolution"]) == ("open", None, None)
    assert [(action, actor) for action, actor, _ in told(services, package_id)] == [
        ("annotation.added", "bea"), ("annotation.resolved", "lena"), ("annotation.reopened", "bea"),
    ]  # fmt: skip
    assert told(services, package_id)[2][2]["was"] == {"resolved_by": "lena", "resolution": "Bigger now."}
    assert audit.verify(services).ok


def test_a_note_says_something_of_a_version_that_is_there(services, batch, package_id, write):
    for wrong, what in (
        ({"version_id": "ver_none"}, "not in this package"),
        ({"body": " \n\x00"}, "empty"),
        ({"body": "x" * 8001}, "8001 characters"),
        ({"kind": "wish"}, "no kind"),
        ({"reply_to": "ann_none"}, "no such note"),
        ({"target": {"selector": {"type": "CssSelector", "value": "p"}}}, "only FragmentSelector"),
        ({"audience": "legal_reviewer"}, "a role of your own"),
    ):
        with pytest.raises(BadInput, match=what):
            write(**wrong)
    with pytest.raises(NotFound):
        write(package_id="pkg_none")
    with pytest.raises(NotFound):
        annotations.resolve(services, annotation_id="ann_none", person="bea")
    with pytest.raises(NotFound):
        notes(services, "pkg_none")
    assert notes(services, package_id) == []


def test_any_text_is_kept_as_text(services, package_id, write):
    evil = "<img src=x onerror=alert(1)> \ud83d half, \U0001f600 whole\r\n\x00two"
    assert write(body=evil)["body"] == "<img src=x onerror=alert(1)> \ufffd half, \U0001f600 whole\ntwo"
    assert notes(services, package_id)[0]["body"].endswith("whole\ntwo")


def test_the_place_is_one_of_the_version(services, batch, package_id, write):
    with services.session() as session:
        version = session.get_one(Version, batch[1][0])
        version.seconds, version.technical = 12.0, {"pages": 2}
    for value in ("t=20", "page=3"):
        with pytest.raises(BadInput):
            write(target={"selector": {"type": "FragmentSelector", "value": value}})


# ------------------------------------------------------------------------------------------------ who may what


@pytest.mark.parametrize("person", WRITERS)
def test_whoever_has_a_role_writes(package_id, write, person):
    made = write(person)
    assert (made["guest"], made["mine"]) == (person.startswith("guest:"), True)


@pytest.mark.parametrize("person", ["vic", "stranger", ""])
def test_viewers_and_strangers_only_read(services, package_id, write, person):
    made = write()
    acts = {
        "write": lambda: write(person),
        "reply": lambda: write(person, reply_to=made["annotation_id"]),
        "edit": lambda: annotations.edit(services, **known, changes={"body": "?"}),
        "resolve": lambda: annotations.resolve(services, **known),
        "reopen": lambda: annotations.reopen(services, **known),
        "withdraw": lambda: annotations.withdraw(services, **known),
    }
    known = {"annotation_id": made["annotation_id"], "person": person}
    for act in acts.values():
        with pytest.raises(Refused, match="viewers read"):
            act()
    [row] = notes(services, package_id, person)
    assert (row["body"], row["may"]) == ("The logo is too small.", [])


def test_only_its_author_changes_a_note_while_it_is_open(services, package_id, write):
    made = write(target=BOX)
    known = {"annotation_id": made["annotation_id"]}
    for person in ("lena", "ada", "guest:bea"):
        with pytest.raises(Refused, match="Bea Okafor's note"):
            annotations.edit(services, **known, person=person, changes={"body": "Mine."})
        with pytest.raises(Refused, match="Bea Okafor's note"):
            annotations.withdraw(services, **known, person=person)
    edited = annotations.edit(services, **known, person="bea", changes={"body": "Too big.", "kind": "must_fix"})
    assert (edited["body"], edited["kind"], edited["target"]) == ("Too big.", "must_fix", made["target"])
    assert edited["edited_at"]
    assert annotations.edit(services, **known, person="bea", changes={"target": None})["target"] is None
    unchanged = annotations.edit(services, **known, person="bea", changes={"body": "Too big. "})
    was = [data["was"]["body"] for action, _, data in told(services, package_id) if action == "annotation.edited"]
    assert (was, unchanged["body"]) == (["The logo is too small.", "Too big."], "Too big.")
    with services.session() as session:
        former = session.get_one(Annotation, made["annotation_id"]).former
    assert [(row["body"], row["kind"], row["target"]) for row in former] == [
        ("The logo is too small.", "note", made["target"]), ("Too big.", "must_fix", made["target"]),
    ]  # fmt: skip
    annotations.resolve(services, **known, person="lena")
    with pytest.raises(Refused, match="it is resolved"):
        annotations.edit(services, **known, person="bea", changes={"body": "Hm."})


def test_a_note_is_taken_back_unless_it_was_answered(services, package_id, write):
    made, answered = write(), write()
    annotations.withdraw(services, annotation_id=made["annotation_id"], person="bea")
    annotations.withdraw(services, annotation_id=made["annotation_id"], person="bea")
    reply = write("dario", "Why?", reply_to=answered["annotation_id"])
    with pytest.raises(Refused, match="it was answered"):
        annotations.withdraw(services, annotation_id=answered["annotation_id"], person="bea")
    assert [row["annotation_id"] for row in notes(services, package_id)] == [
        answered["annotation_id"], reply["annotation_id"],
    ]  # fmt: skip
    for act in (annotations.resolve, annotations.withdraw):
        with pytest.raises(NotFound):
            act(services, annotation_id=made["annotation_id"], person="lena")
    assert [action for action, _, _ in told(services, package_id)].count("annotation.withdrawn") == 1
    annotations.withdraw(services, annotation_id=reply["annotation_id"], person="dario")
    annotations.withdraw(services, annotation_id=answered["annotation_id"], person="bea")
    assert notes(services, package_id) == []


def test_who_made_a_version_does_not_tick_off_what_must_be_fixed_in_it(services, package_id, write):
    must, may = write(kind="must_fix"), write(kind="suggestion")
    with pytest.raises(Refused, match="who made a version"):
        annotations.resolve(services, annotation_id=must["annotation_id"], person="dario")
    assert annotations.resolve(services, annotation_id=may["annotation_id"], person="dario")["resolved_by"] == "dario"
    acts = {row["annotation_id"]: row["may"] for row in notes(services, package_id, "dario")}
    assert acts == {must["annotation_id"]: ["reply"], may["annotation_id"]: ["reopen", "reply"]}


def test_a_guest_resolves_only_what_is_their_own(services, package_id, write):
    theirs, ours = write("guest:eva@agency.example"), write("bea")
    known = {"person": "guest:eva@agency.example"}
    assert annotations.resolve(services, annotation_id=theirs["annotation_id"], **known)["status"] == "resolved"
    with pytest.raises(Refused, match="guests resolve"):
        annotations.resolve(services, annotation_id=ours["annotation_id"], **known)
    with pytest.raises(BadInput, match="for everybody"):
        write("guest:eva@agency.example", audience="brand_reviewer")
    assert theirs["author_name"] == "eva@agency.example"
    assert theirs["role"] == "guest"


# ------------------------------------------------------------------------------------------------------ threads


def test_answers_stand_in_one_thread(services, batch, package_id, write):
    first = write(kind="must_fix", target=BOX)
    reply = write("dario", "How small?", reply_to=first["annotation_id"], kind="must_fix")
    second = write("bea", "Half.", reply_to=reply["annotation_id"])
    assert [row["reply_to"] for row in (reply, second)] == [first["annotation_id"]] * 2
    assert (reply["kind"], reply["target"]) == ("note", None)
    for wrong, what in (({"target": BOX}, "no place"), ({"version_id": batch[1][1]}, "another version")):
        with pytest.raises(BadInput, match=what):
            write(reply_to=first["annotation_id"], **wrong)
    with pytest.raises(Refused, match="neither open nor resolved"):
        annotations.resolve(services, annotation_id=reply["annotation_id"], person="bea")
    for change in ({"target": BOX}, {"kind": "must_fix"}):
        with pytest.raises(BadInput, match="neither a place nor a kind"):
            annotations.edit(services, annotation_id=reply["annotation_id"], person="dario", changes=change)


# ----------------------------------------------------------------------------------------------- private notes


@pytest.fixture
def secret(services, write):
    """A private note of legal with an answer."""
    made = write("lena", "The contract ends early.", audience="legal_reviewer", kind="suggestion")
    write("lena", "I will ask.", reply_to=made["annotation_id"])
    return made


@pytest.mark.parametrize("person", ["bea", "maya", "ada", "vic", "guest:eva@agency.example", None])
def test_a_private_note_is_not_there_for_anybody_else(services, package_id, write, secret, person):
    seen = write("bea", "For all.")
    told_ = annotations.of_package(services, package_id=package_id, person=person)
    assert [row["annotation_id"] for row in told_] == [seen["annotation_id"]]
    page = jsonld.page(services, package_id=package_id, person=person)
    assert (len(page["items"]), page["partOf"]["total"]) == (1, 1)
    for act in (annotations.resolve, annotations.reopen, annotations.withdraw):
        with pytest.raises(NotFound):
            act(services, annotation_id=secret["annotation_id"], person=person or "")
    if person and annotations.may_write(services, person):
        with pytest.raises(BadInput, match="no such note"):
            write(person, reply_to=secret["annotation_id"])


def test_a_private_note_is_read_by_its_role_and_answers_stay_private(services, package_id, secret):
    rows = notes(services, package_id, "lena")
    assert [row["audience"] for row in rows] == ["legal_reviewer"] * 2
    with services.session() as session:  # whoever has lost the role reads their own all the same
        session.get_one(Annotation, secret["annotation_id"]).author = "bea"
    assert [row["body"] for row in notes(services, package_id, "bea")] == ["The contract ends early."]


def test_what_must_be_fixed_is_never_private(services, package_id, write, secret):
    with pytest.raises(BadInput, match="must see it"):
        write("lena", audience="legal_reviewer", kind="must_fix")
    with pytest.raises(BadInput, match="must see it"):
        annotations.edit(services, annotation_id=secret["annotation_id"], person="lena", changes={"kind": "must_fix"})
    with Session(services.engine) as session:
        session.get_one(Annotation, secret["annotation_id"]).kind = "must_fix"
        with pytest.raises(IntegrityError):
            session.flush()


def test_the_audit_chain_tells_nothing_of_a_private_note(services, package_id, secret):
    known = {"annotation_id": secret["annotation_id"], "person": "lena"}
    annotations.edit(services, **known, changes={"body": "It ends in May."})
    annotations.resolve(services, **known, resolution="Renewed.")
    annotations.reopen(services, **known)
    with services.session() as session:
        everything = str([event.data for event in session.scalars(select(AuditEvent))])
        former = session.get_one(Annotation, secret["annotation_id"]).former
    for words in ("contract ends", "It ends in May", "I will ask", "Renewed"):
        assert words not in everything
    assert hashlib.sha256(b"It ends in May.").hexdigest() in everything
    assert [row["body"] for row in former] == ["The contract ends early."]


# ---------------------------------------------------------------------------------------------------- mentions


@pytest.fixture
def mailbox(services, monkeypatch):
    """Mails that went out: (to, subject, text)."""
    from dam import mail

    out = []

    def send(services_, *, to, template, context):
        subject, text, _ = mail.render(services_, template=template, context=context)
        out.append((*to, subject, text))
        return True

    monkeypatch.setattr(mail, "send", send)
    return out


def test_who_is_named_is_mailed_once_with_a_link_to_the_proof(services, batch, package_id, write, mailbox):
    body = "@lena, look: (@Maya.) mail@dario.example @nobody @bea @lena"
    made = write(body=body, target={"selector": {"type": "FragmentSelector", "value": "t=72.5"}})
    assert made["mentions"] == ["lena", "maya"]
    assert annotations.mail_mentions(services) == 2
    assert annotations.mail_mentions(services) == 0
    assert [to for to, _, _ in mailbox] == ["lena", "maya"]
    _, subject, text = mailbox[0]
    assert subject.startswith("Bea Okafor names you on SPRING27-HERO-A_ACME")
    assert "at 1:12.5" in text
    assert body in text
    link = f"/dam/packages/{package_id}?version={batch[1][0]}&note={made['annotation_id']}"
    assert services.settings.web_url + link in text
    changes = {"body": "@lena and @libby"}
    annotations.edit(services, annotation_id=made["annotation_id"], person="bea", changes=changes)
    assert annotations.mail_mentions(services, annotation_id=made["annotation_id"]) == 1
    assert mailbox[-1][0] == "libby"


def test_a_mail_server_that_is_down_loses_no_mention(services, write, mailbox, monkeypatch):
    from dam import mail

    works = mail.send

    def down(*args, to, **more):
        if to == ["maya"]:
            raise mail.MailFailed("no route", where="mail server")
        return works(*args, to=to, **more)

    monkeypatch.setattr(mail, "send", down)
    made = write(body="@maya @lena")
    assert made["body"] == "@maya @lena"
    assert annotations.mail_mentions(services) == 1
    monkeypatch.setattr(mail, "send", works)
    assert annotations.mail_mentions(services) == 1
    assert [to for to, _, _ in mailbox] == ["lena", "maya"]


def test_nobody_is_named_in_a_note_they_may_not_read(services, package_id, write, mailbox):
    with pytest.raises(BadInput, match="maya holds not the role"):
        write("lena", "@maya look", audience="legal_reviewer")
    assert write("guest:eva@agency.example", "@maya @lena")["mentions"] == []
    made = write(body="@maya")
    annotations.withdraw(services, annotation_id=made["annotation_id"], person="bea")
    assert annotations.mail_mentions(services) == 0


# --------------------------------------------------------------------------------------------- the review is over


def next_version(services, batch, *, of=0):
    """Add a version that answers one of the batch's, in a batch of its own; return batch and version."""
    with services.session() as session:
        before = session.get_one(Version, batch[1][of])
        drop = Batch(
            campaign_id=before.batch.campaign_id, source="inbox", location=f"{before.id}/next", sent_by="dario"
        )
        version = Version(
            asset_id=before.asset_id,
            number=before.number + 1,
            batch=drop,
            filename=f"next-{before.filename}",
            sha256=hashlib.sha256(f"next of {before.id}".encode()).hexdigest(),
            bytes=1001,
            media_type="image/jpeg",
            storage_uri="vault:none",
            made_by="dario",
        )
        world.bring_to(session, version, VersionState.INGESTED)
        session.add(Description(version=version, title="next", updated_by="libby"))
        session.flush()
        return drop.id, [version.id]


def changes_asked(services, batch, package_id):
    """Let a package end with changes requested for its first version, the other approved."""
    asked = {batch[1][0]: {"verdict": "request_changes", "comment": "See the notes."}}
    for seat in packages.seats(services, package_id=package_id):
        person = seat["eligible"][0]
        seats.decide(services, seat_id=seat["seat_id"], person=person, verdict="approve", versions=asked)
    return packages.verdict(services, package_id=package_id)


def test_a_decided_package_is_written_on_no_more(services, batch, package_id, write):
    must, other = write(kind="must_fix"), write("lena", version_id=batch[1][1])
    changes_asked(services, batch, package_id)
    for act in (write, lambda: write(reply_to=must["annotation_id"])):
        with pytest.raises(annotations.ReviewOver, match="the review is over: approved"):
            act()
    known = {"annotation_id": must["annotation_id"], "person": "bea"}
    with pytest.raises(Refused, match="the review is over"):
        annotations.edit(services, **known, changes={"body": "Hm."})
    with pytest.raises(Refused, match="the review is over"):
        annotations.withdraw(services, **known)
    with pytest.raises(Refused, match="the review is over"):  # that version was approved
        annotations.resolve(services, annotation_id=other["annotation_id"], person="lena")
    assert annotations.resolve(services, **known)["status"] == "resolved"
    assert annotations.reopen(services, **known)["status"] == "open"
    following = next_version(services, batch)
    next_id = packages.freeze(services, batch_id=following[0], version_ids=following[1])
    with pytest.raises(Refused, match="gone on to the next one"):
        annotations.resolve(services, **known)
    with pytest.raises(annotations.ReviewOver) as over:
        write()
    assert over.value.next_package_id == next_id


# ------------------------------------------------------------------------------------------------- they travel


def test_notes_travel_to_the_next_version_and_are_ticked_off_there(services, batch, package_id, write):
    must = write(kind="must_fix", target=BOX)
    write("dario", "How small?", reply_to=must["annotation_id"])
    write("lena", "Warmer?", kind="suggestion")
    answered = write("lena", "A typo.", kind="must_fix")
    annotations.resolve(services, annotation_id=answered["annotation_id"], person="lena", resolution="Seen.")
    write("bea", "Nice.", kind="note")
    gone = write("bea", "Oh.", kind="must_fix")
    annotations.withdraw(services, annotation_id=gone["annotation_id"], person="bea")
    write("lena", "Legal only.", kind="suggestion", audience="legal_reviewer")
    changes_asked(services, batch, package_id)
    batch_id, [version_id] = next_version(services, batch)
    next_id = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    came = notes(services, next_id)
    assert [(row["body"], row["status"]) for row in came] == [
        ("The logo is too small.", "open"), ("How small?", "open"), ("Warmer?", "open"), ("A typo.", "resolved"),
    ]  # fmt: skip
    here = came[0]
    assert here["origin"] == {
        "annotation_id": must["annotation_id"], "package_id": package_id, "version_id": batch[1][0], "number": 1,
    }  # fmt: skip
    assert (here["version_id"], here["author"], here["role"]) == (version_id, "bea", "brand_reviewer")
    assert here["created_at"] == must["created_at"]
    assert here["target"]["selector"] == must["target"]["selector"]
    with services.session() as session:
        assert here["target"]["source"] == f"urn:sha256:{session.get_one(Version, version_id).sha256}"
    assert came[1]["reply_to"] == here["annotation_id"]
    assert (came[3]["resolved_by"], came[3]["resolution"]) == ("lena", "Seen.")
    assert "Legal only." in [row["body"] for row in notes(services, next_id, "lena")]
    assert here["may"] == ["resolve", "reply"]  # neither edited nor withdrawn
    pair = {"from_version": batch[1][0], "to_version": version_id}
    assert [(row["body"], row["status"]) for row in annotations.answered(services, **pair)] == [
        ("The logo is too small.", "open"), ("A typo.", "resolved"),
    ]  # fmt: skip
    annotations.resolve(services, annotation_id=here["annotation_id"], person="lena", resolution="Bigger.")
    [row, _] = annotations.answered(services, **pair)
    assert (row["status"], row["resolved_by"], row["resolution"]) == ("resolved", "lena", "Bigger.")
    assert (row["annotation_id"], row["carried_id"]) == (must["annotation_id"], here["annotation_id"])
    assert notes(services, package_id)[0]["status"] == "open"  # what it was in its round
    with services.session() as session:
        assert annotations.open_must_fixes(session, package_id=next_id, version_ids=[version_id]) == []
        [left] = annotations.open_must_fixes(session, package_id=package_id, version_ids=batch[1])
    assert (left["annotation_id"], left["target"]) == (must["annotation_id"], must["target"])


def test_nothing_is_carried_twice(services, batch, package_id, write):
    must = write(kind="must_fix")
    write("dario", "How small?", reply_to=must["annotation_id"])
    changes_asked(services, batch, package_id)
    following = next_version(services, batch)
    next_id = packages.freeze(services, batch_id=following[0], version_ids=following[1])
    assert packages.freeze(services, batch_id=following[0], version_ids=following[1]) == next_id
    with services.session() as session:
        assert annotations.carry(session, package=session.get_one(Package, next_id)) == []
    assert len(notes(services, next_id)) == 2
    assert [action for action, _, _ in told(services, next_id)] == ["annotations.carried"]
    with Session(services.engine) as session:
        row = session.scalars(select(Annotation).where(Annotation.package_id == next_id)).first()
        twin = {name: getattr(row, name) for name in ("package_id", "version_id", "author", "role", "body")}
        session.add(Annotation(origin_id=row.origin_id, **twin))
        with pytest.raises(IntegrityError, match="uq_annotations_origin"):
            session.flush()


def test_a_note_goes_on_through_rounds_from_its_first_one(services, batch, package_id, write):
    must = write(kind="must_fix")
    done = write(kind="suggestion", body="Crop it.")
    annotations.resolve(services, annotation_id=done["annotation_id"], person="lena")
    changes_asked(services, batch, package_id)
    second = next_version(services, batch)
    second_id = packages.freeze(services, batch_id=second[0], version_ids=second[1])
    assert [row["status"] for row in notes(services, second_id)] == ["open", "resolved"]
    changes_asked(services, second, second_id)
    third = next_version(services, second)
    third_id = packages.freeze(services, batch_id=third[0], version_ids=third[1])
    [row] = notes(services, third_id)  # what was answered before the second round is told there
    assert row["origin"]["annotation_id"] == must["annotation_id"]
    annotations.resolve(services, annotation_id=row["annotation_id"], person="bea")
    for before in (batch, second):
        [answer, *_] = annotations.answered(services, from_version=before[1][0], to_version=third[1][0])
        assert answer["status"] == "resolved"


def test_the_next_round_of_the_same_version_keeps_everything(services, batch, package_id, write):
    write(kind="must_fix"), write(kind="note", body="Nice.")
    with services.session() as session:
        session.get_one(Description, batch[1][0]).title = "Another"
    next_id = packages.revalidate(services, package_id=package_id)
    assert [row["body"] for row in notes(services, next_id)] == ["The logo is too small.", "Nice."]
    assert all(row["version_id"] == batch[1][0] for row in notes(services, next_id))


def test_a_round_without_notes_does_not_cut_the_line(services, batch, package_id, write):
    must = write(kind="must_fix")
    changes_asked(services, batch, package_id)
    second = next_version(services, batch)
    second_id = packages.freeze(services, batch_id=second[0], version_ids=second[1])
    with services.session() as session:  # as if that round had been frozen before notes travelled
        session.query(Annotation).filter(Annotation.package_id == second_id).delete()
        version = session.get_one(Version, second[1][0])
        change_state(session, version, VersionState.CHANGES_REQUESTED, actor="bea", why="test")
        package = session.get_one(Package, second_id)
        package.status, package.closed_at = "changes_requested", utcnow()
    third = next_version(services, second)
    third_id = packages.freeze(services, batch_id=third[0], version_ids=third[1])
    assert [row["origin"]["annotation_id"] for row in notes(services, third_id)] == [must["annotation_id"]]


# ---------------------------------------------------------------------------------------------------- JSON-LD

_IRI = {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:\S+$"}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"}
_MOTIVATION = {
    "enum": ["assessing", "bookmarking", "classifying", "commenting", "describing", "editing", "highlighting",
             "identifying", "linking", "moderating", "questioning", "replying", "tagging"]
}  # fmt: skip
#: What W3C's Web Annotation Data Model demands of a page, its annotations, bodies, agents, targets and selectors.
MODEL = {
    "type": "object",
    "required": ["@context", "id", "type", "partOf", "items"],
    "properties": {
        "@context": {"const": "http://www.w3.org/ns/anno.jsonld"},
        "id": _IRI,
        "type": {"const": "AnnotationPage"},
        "partOf": {
            "type": "object",
            "required": ["id", "type"],
            "properties": {
                "id": _IRI, "type": {"const": "AnnotationCollection"}, "label": {"type": "string"},
                "total": {"type": "integer", "minimum": 0},
            },
        },
        "startIndex": {"type": "integer", "minimum": 0},
        "items": {"type": "array", "items": {"$ref": "#/$defs/annotation"}},
    },
    "$defs": {
        "annotation": {
            "type": "object",
            "required": ["id", "type", "target", "motivation", "creator", "created"],
            "additionalProperties": False,
            "properties": {
                "id": _IRI, "type": {"const": "Annotation"}, "created": _TIME, "modified": _TIME, "via": _IRI,
                "motivation": _MOTIVATION, "creator": {"$ref": "#/$defs/agent"},
                "body": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/body"}},
                "target": {"anyOf": [_IRI, {"$ref": "#/$defs/specific"}]},
                "audience": {"type": "object", "required": ["id", "type"], "properties": {"id": _IRI}},
            },
        },
        "agent": {
            "type": "object",
            "required": ["id", "type", "name"],
            "properties": {
                "id": _IRI, "type": {"enum": ["Person", "Organization", "Software"]}, "name": {"type": "string"},
                "nickname": {"type": "string"},
            },
        },
        "body": {
            "type": "object",
            "required": ["type", "value"],
            "properties": {
                "type": {"const": "TextualBody"}, "value": {"type": "string"}, "format": {"const": "text/plain"},
                "purpose": _MOTIVATION,
            },
        },
        "specific": {
            "type": "object",
            "required": ["type", "source", "selector"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "SpecificResource"}, "source": _IRI, "selector": {"$ref": "#/$defs/selector"},
            },
        },
        "selector": {
            "type": "object",
            "required": ["type", "value"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["FragmentSelector", "SvgSelector"]}, "value": {"type": "string"},
                "conformsTo": _IRI, "refinedBy": {"$ref": "#/$defs/selector"},
            },
            "if": {"properties": {"type": {"const": "FragmentSelector"}}},
            "then": {"required": ["conformsTo"]},
        },
    },
}  # fmt: skip


def test_notes_are_w3c_annotations_to_other_programs(services, batch, package_id, write):
    drawn = '<svg viewBox="0 0 100 100"><polygon points="1,1 9,1 5,9"/></svg>'
    shape = {"type": "SvgSelector", "value": drawn}
    at = {"selector": {"type": "FragmentSelector", "value": "t=1,2", "refinedBy": shape}}
    must = write(kind="must_fix", target=at)
    write("guest:eva@agency.example", "Which?", reply_to=must["annotation_id"])
    write("lena", "Legal only.", audience="legal_reviewer")
    annotations.edit(services, annotation_id=must["annotation_id"], person="bea", changes={"body": "Bigger."})
    changes_asked(services, batch, package_id)
    following = next_version(services, batch)
    next_id = packages.freeze(services, batch_id=following[0], version_ids=following[1])
    page = jsonld.page(services, package_id=package_id, person="lena")
    later = jsonld.page(services, package_id=next_id, person="lena")
    checker = jsonschema.Draft202012Validator(MODEL)
    for one in (page, later):
        assert [fault.message for fault in checker.iter_errors(one)] == []
    first, reply, private = page["items"]
    assert [row["motivation"] for row in page["items"]] == ["editing", "replying", "commenting"]
    assert [body["value"] for body in first["body"]] == ["Bigger.", "must_fix", "open"]
    assert first["creator"] == {"id": "acct:bea@127.0.0.1", "type": "Person", "name": "Bea Okafor", "nickname": "bea"}
    assert 'xmlns="http://www.w3.org/2000/svg"' in first["target"]["selector"]["refinedBy"]["value"]
    assert reply["creator"]["id"] == "mailto:eva@agency.example"
    assert reply["target"] == first["id"]
    assert private["target"].startswith("urn:sha256:")
    assert private["audience"]["id"] == "urn:dam:role:legal_reviewer"
    assert later["items"][0]["via"] == first["id"]
    assert len(jsonld.page(services, package_id=package_id)["items"]) == 2


# ------------------------------------------------------------------------------------- what was there before

OLD = """
INSERT INTO annotations
    (id, package_id, version_id, author, body, target, must_fix, resolved_by, resolved_at, created_at)
VALUES (:id, :package_id, :version_id, 'bea', :id, CAST(:target AS jsonb), :must_fix, :by, :at, now())
"""


def test_remarks_of_before_are_notes_with_their_place(services, batch, package_id, catalog_url):
    from dam.catalog import session as catalog

    catalog.downgrade(catalog_url, "0017-1")
    kept = '{"selector": {"type": "FragmentSelector", "value": "xywh=percent:10,20.5,30,40"}}'
    evil = '{"selector": {"type": "SvgSelector", "value": "<svg onload=alert(1)>"}}'
    known = {"package_id": package_id, "version_id": batch[1][0]}
    with services.engine.begin() as connection:
        for name, target, must_fix, by in (
            ("a", kept, True, None), ("b", evil, False, "lena"), ("c", "null", False, None), ("d", None, False, None),
        ):  # fmt: skip
            at = utcnow() if by else None
            row = known | {"id": name, "target": target, "must_fix": must_fix, "by": by, "at": at}
            connection.execute(text(OLD), row)
    catalog.upgrade(catalog_url)
    rows = {row["annotation_id"]: row for row in notes(services, package_id)}
    assert [(row["kind"], row["status"]) for row in rows.values()] == [
        ("must_fix", "open"), ("suggestion", "resolved"), ("suggestion", "open"), ("suggestion", "open"),
    ]  # fmt: skip
    with services.session() as session:
        sha256 = session.get_one(Version, batch[1][0]).sha256
        former = session.get_one(Annotation, "b").former
    assert rows["a"]["target"] == targets.normalise(rows["a"]["target"], sha256=sha256)
    assert [rows[name]["target"] for name in "bcd"] == [None] * 3
    assert "onload" in former[0]["target"]["selector"]["value"]  # lost is nothing, shown is it not
