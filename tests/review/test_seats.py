"""Seats as a team asks for them: several signatures, stages, conditions, deputies, and what is taken back."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

import world
from dam import audit
from dam.catalog import session as catalog
from dam.catalog.models import Asset, Batch, Decision, Grant, Package, Seat, Tag, Term, Version, new_id, utcnow
from dam.enrich import contracts
from dam.errors import BadInput, NotFound, Refused
from dam.review import annotations as notes
from dam.review import packages, queries, seats
from dam.workflow import SeatRule, When, Workflow

ROLES = {
    "bea": ["brand_reviewer"],
    "maya": ["marketing_lead", "brand_reviewer"],
    "momo": ["marketing_ops", "brand_reviewer"],
    "lena": ["legal_reviewer"],
    "dario": ["designer", "brand_reviewer"],  # he made the pictures
}
BRAND, LEGAL = {"role": "brand_reviewer", "due_hours": 72}, {"role": "legal_reviewer", "due_hours": 72}


@pytest.fixture
def team(services):
    """Returns a function that gives the services other seats, roles and policies."""

    def make(*rules, **policy):
        known = services.workflow
        people = {
            name: person.model_copy(update={"roles": ROLES.get(name, person.roles)})
            for name, person in known.people.items()
        }
        changes = {
            "people": people,
            "seats": [SeatRule.model_validate(rule) for rule in rules],
            "policy": known.policy.model_copy(update=policy),
        }
        services.workflow = Workflow.model_validate(known.model_copy(update=changes))
        return services

    return make


def freeze(services, batch, **more):
    return packages.freeze(services, batch_id=batch[0], version_ids=batch[1], **more)


def rows(services, package_id):
    return {row["role"]: row for row in packages.seats(services, package_id=package_id)}


def sign(services, package_id, role, person, verdict="approve", **more):
    more = {"comment": "Seen."} | more
    seat_id = rows(services, package_id)[role]["seat_id"]
    return seats.decide(services, seat_id=seat_id, person=person, verdict=verdict, **more)


def status(services, package_id):
    return packages.verdict(services, package_id=package_id)["status"]


def actions(services, package_id):
    with services.session() as session:
        return [event.action for event in audit.history(session, package_id)]


# -------------------------------------------------------------------------------------- several signatures


def test_a_seat_is_open_until_it_has_all_its_signatures(team, batch):
    services = team(BRAND | {"signatures": 2})
    package_id = freeze(services, batch)
    assert rows(services, package_id)["brand_reviewer"]["eligible"] == ["maya", "bea", "momo"]
    assert sign(services, package_id, "brand_reviewer", "bea")["seat_status"] == "open"
    assert sign(services, package_id, "brand_reviewer", "bea")["seat_status"] == "open"  # the same again
    assert status(services, package_id) is None
    assert queries.my_open_seats(services, person="bea") == []
    [mine] = queries.my_open_seats(services, person="momo")
    assert (mine["signed"], mine["needed"]) == (1, 2)
    assert sign(services, package_id, "brand_reviewer", "momo")["seat_status"] == "signed"
    with pytest.raises(seats.SeatRefused, match="bea and momo have signed this seat already"):
        sign(services, package_id, "brand_reviewer", "maya")
    row = rows(services, package_id)["brand_reviewer"]
    assert [one["person"] for one in row["signatures"]] == ["bea", "momo"]
    assert status(services, package_id) == "approved"


def test_each_of_several_signatures_counts(team, batch):
    services = team(BRAND | {"signatures": 2, "veto": False})
    package_id = freeze(services, batch)
    sign(services, package_id, "brand_reviewer", "bea")
    sign(services, package_id, "brand_reviewer", "momo", versions={batch[1][0]: {"verdict": "request_changes"}})
    told = packages.verdict(services, package_id=package_id)
    assert (told["changes_requested"], told["approved"]) == (batch[1][:1], batch[1][1:])


def test_too_few_people_who_did_not_make_it_are_refused_at_once(team, batch):
    services = team(BRAND | {"signatures": 4})
    with pytest.raises(Refused, match="needs 4 signatures, and only maya, bea, momo may sign"):
        freeze(services, batch)


def test_seats_that_only_one_person_could_all_sign_are_refused_at_once(team, batch):
    lead = {"role": "marketing_lead", "due_hours": 72}
    with pytest.raises(Refused, match="nobody is left for the seat of the marketing lead: maya would have to sign"):
        freeze(team(BRAND | {"signatures": 3}, lead), batch)
    freeze(team(BRAND | {"signatures": 2}, lead), batch)  # maya leads, and the two others are on brand


def test_of_three_people_at_once_two_sign(team, batch):
    services = team(BRAND | {"signatures": 2})
    package_id = freeze(services, batch)
    told = []

    def answer(person):
        try:
            told.append(sign(services, package_id, "brand_reviewer", person)["person"])
        except seats.SeatRefused as refused:
            told.append(refused.what)

    threads = [threading.Thread(target=answer, args=(person,)) for person in ("bea", "maya", "momo")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(word in ROLES for word in told) == 2
    assert sum("have signed this seat already" in word for word in told) == 1


FORGED = {
    "a maker": ({"person": "dario"}, "made or sent"),
    "somebody else": ({"person": "vic"}, "is not for vic"),
    "twice": ({"person": "bea"}, "nobody signs a package twice"),
    "for one who signed": ({"person": "vic", "on_behalf_of": "bea"}, "nobody signs a package twice"),
    "another hash": ({"person": "maya", "manifest_sha256": "0" * 64}, "another hash"),
    "another role": ({"person": "maya", "role": "legal_reviewer"}, "another seat"),
    "a deputy of nobody": ({"person": "vic", "on_behalf_of": "maya"}, "vic is no deputy of maya"),
    "a deputy with a seat": ({"person": "momo", "on_behalf_of": "maya"}, "momo has a seat"),
}


@pytest.mark.parametrize(("forged", "told"), FORGED.values(), ids=FORGED)
def test_the_database_refuses_what_the_library_would_not_write(team, batch, forged, told):
    services = team(BRAND | {"signatures": 2})
    package_id = freeze(services, batch)
    sign(services, package_id, "brand_reviewer", "bea")
    with services.session() as session:
        package = session.get_one(Package, package_id)
        values = {"seat_id": package.seats[0].id, "package_id": package_id, "verdict": "approve", "via": "room"}
        values |= {"manifest_sha256": package.manifest_sha256, "role": "brand_reviewer"} | forged
        if forged["person"] == "dario":
            session.execute(text("UPDATE seats SET eligible = eligible || '{dario}'"))
    with pytest.raises(IntegrityError, match=told), services.session() as session:
        session.add(Decision(**values))


def test_the_database_refuses_more_signatures_than_needed_and_any_on_what_is_over(team, batch):
    services = team(BRAND, LEGAL)
    package_id = freeze(services, batch)
    sign(services, package_id, "brand_reviewer", "bea")
    with services.session() as session:
        package = session.get_one(Package, package_id)
        known = {"package_id": package_id, "manifest_sha256": package.manifest_sha256, "verdict": "approve"}
        seat = {"seat_id": package.seats[0].id, "role": "brand_reviewer", "person": "maya", "via": "room"}
    with pytest.raises(IntegrityError, match="the seat is signed"), services.session() as session:
        session.add(Decision(**known, **seat))
    with services.session() as session:
        session.execute(text("UPDATE seats SET status = 'open'"))
    with pytest.raises(IntegrityError, match="has all its signatures"), services.session() as session:
        session.add(Decision(**known, **seat))
    with services.session() as session:
        session.execute(text("UPDATE seats SET status = 'signed' WHERE role = 'brand_reviewer'"))
    sign(services, package_id, "legal_reviewer", "lena")
    assert status(services, package_id) == "approved"
    with pytest.raises(IntegrityError, match="the review is over"), services.session() as session:
        session.add(Decision(**known, **seat))


# -------------------------------------------------------------------------------------------------- stages


def test_a_later_stage_opens_when_the_earlier_one_has_closed_and_gets_its_time_then(team, batch):
    services = team(BRAND, LEGAL | {"stage": 2, "due_hours": 10})
    package_id = freeze(services, batch)
    legal = rows(services, package_id)["legal_reviewer"]
    assert (legal["status"], legal["opens_at"]) == ("waiting", None)
    assert legal["reason"] == "It opens when the seats before it have closed."
    assert queries.my_open_seats(services, person="lena") == []
    with pytest.raises(seats.SeatRefused, match="the seat is waiting: It opens when"):
        sign(services, package_id, "legal_reviewer", "lena")
    sign(services, package_id, "brand_reviewer", "bea")
    assert status(services, package_id) is None
    opened = rows(services, package_id)["legal_reviewer"]
    assert (opened["status"], opened["reason"]) == ("open", None)
    assert opened["due_at"] < legal["due_at"]  # brand did not use up its three days
    assert "package.stage_opened" in actions(services, package_id)
    sign(services, package_id, "legal_reviewer", "lena")
    assert status(services, package_id) == "approved"


@pytest.mark.parametrize(
    ("verdict", "ends"), [("request_changes", "changes_requested"), ("reject", "rejected"), (None, "expired")]
)
def test_a_later_stage_is_not_asked_about_what_can_not_be_approved_any_more(team, batch, verdict, ends):
    services = team(BRAND, LEGAL | {"stage": 2})
    package_id = freeze(services, batch)
    if verdict:
        sign(services, package_id, "brand_reviewer", "bea", verdict)
    else:
        seats.expire(services, seat_id=rows(services, package_id)["brand_reviewer"]["seat_id"])
    assert status(services, package_id) == ends
    assert rows(services, package_id)["legal_reviewer"]["status"] == "void"


def test_a_later_stage_is_asked_while_one_version_may_be_approved(team, batch):
    services = team(BRAND, LEGAL | {"stage": 2})
    package_id = freeze(services, batch)
    sign(services, package_id, "brand_reviewer", "bea", versions={batch[1][0]: {"verdict": "request_changes"}})
    assert status(services, package_id) is None
    sign(services, package_id, "legal_reviewer", "lena")
    told = packages.verdict(services, package_id=package_id)
    assert (told["changes_requested"], told["approved"]) == (batch[1][:1], batch[1][1:])


def test_a_change_between_stages_starts_the_next_round_at_the_first(team, batch):
    services = team(BRAND, LEGAL | {"stage": 2})
    package_id = freeze(services, batch)
    sign(services, package_id, "brand_reviewer", "bea")
    contracts.fill(services, version_id=batch[1][0], values={"title": "Another"}, person="libby")
    told = packages.verdict(services, package_id=package_id)
    assert told["status"] == "void"
    assert [row["status"] for row in rows(services, told["next_package_id"]).values()] == ["open", "waiting"]


def test_working_days_count_from_the_opening(team, batch):
    services = team({"role": "brand_reviewer", "due_days": 1})
    package_id = freeze(services, batch)
    with services.session() as session:
        seat = session.scalars(select(Seat).where(Seat.package_id == package_id)).one()
        assert seat.due_at == services.workflow.calendar("house").add(seat.opens_at, 1)
        assert seat.due_at > seat.opens_at


# ---------------------------------------------------------------------------------------------- conditions


PEOPLE = LEGAL | {"when": {"people_shown": True}}


def tag(services, version_id, term, status):
    with services.session() as session:
        if session.get(Term, term) is None:
            facet, _, slug = term.partition("/")
            session.add(Term(id=term, facet=facet, labels={"en": slug}))
            session.flush()
        session.add(
            Tag(
                version_id=version_id,
                term_id=term,
                source="keywords",
                model="x",
                model_version="1",
                status=status,
                confidence=0.9,
                because="x",
            )
        )


def test_legal_is_not_needed_when_nobody_is_shown(team, batch):
    services = team(BRAND, PEOPLE)
    package_id = freeze(services, batch)
    legal = rows(services, package_id)["legal_reviewer"]
    assert (legal["status"], legal["reason"]) == ("not_needed", "No version of the package shows people.")
    with pytest.raises(seats.SeatRefused, match="not needed: No version of the package shows people"):
        sign(services, package_id, "legal_reviewer", "lena")
    sign(services, package_id, "brand_reviewer", "bea")
    assert status(services, package_id) == "approved"


@pytest.mark.parametrize(
    ("term", "how", "needed"),
    [
        ("subject/person", "applied", True),
        ("subject/astronaut", "applied", True),  # below person
        ("scene/group", "suggested", True),
        ("subject/person", "refused", False),
        ("subject/cat", "applied", False),
    ],
)
def test_tags_say_that_people_are_shown(team, batch, term, how, needed):
    services = team(BRAND, PEOPLE)
    tag(services, batch[1][1], term, how)
    package_id = freeze(services, batch)
    assert rows(services, package_id)["legal_reviewer"]["status"] == ("open" if needed else "not_needed")


@pytest.mark.parametrize(
    ("release", "needed"), [("signed", True), ("missing", True), ("not_needed", False), (None, True)]
)
def test_a_model_release_says_it_too_and_no_rights_at_all_are_not_known(team, batch, release, needed):
    services = team(BRAND, PEOPLE)
    with services.session() as session:
        asset_id = session.get_one(Version, batch[1][0]).asset_id
        grant = session.scalars(select(Grant).where(Grant.asset_id == asset_id)).one()
        if release is None:
            session.delete(grant)
        else:
            grant.model_release = release
    package_id = freeze(services, batch)
    assert rows(services, package_id)["legal_reviewer"]["status"] == ("open" if needed else "not_needed")


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ({"markets": ["DE"]}, None),
        ({"markets": ["US", "FR"]}, "No version of the package is for US or FR."),
        ({"channels": ["web"]}, None),
        ({"channels": ["cms"]}, "No version of the package goes to cms."),
        ({"media": ["image"]}, None),
        ({"media": ["video", "audio"]}, "No version of the package is of the kind video or audio."),
        ({"media": ["image"], "markets": ["US"]}, "No version of the package is for US and is of the kind image."),
        ({"media": ["image"], "markets": ["DE"]}, None),
    ],
)
def test_conditions_on_markets_channels_and_media(team, batch, when, reason):
    services = team(BRAND, LEGAL | {"when": when})
    package_id = freeze(services, batch)
    legal = rows(services, package_id)["legal_reviewer"]
    assert (legal["status"], legal["reason"]) == (("not_needed" if reason else "open"), reason)


def test_a_market_that_nobody_knows_may_be_the_one(team, drop):
    services = team(BRAND, LEGAL | {"when": {"markets": ["US"]}})
    batch_id, version_ids = drop(services, "northlight")
    package_id = packages.freeze(services, batch_id=batch_id, version_ids=version_ids)
    assert rows(services, package_id)["legal_reviewer"]["status"] == "open"


def test_the_channels_that_a_package_is_frozen_for_count(team, batch):
    services = team(BRAND, LEGAL | {"when": {"channels": ["cms"]}})
    package_id = freeze(services, batch, channels=["cms"])
    assert rows(services, package_id)["legal_reviewer"]["status"] == "open"


def test_what_no_seat_need_sign_is_refused_and_never_approved_by_silence(team, batch):
    services = team(PEOPLE)
    with pytest.raises(Refused, match="what nobody signs is not approved"):
        freeze(services, batch)
    with services.session() as session:
        assert set(session.scalars(select(Version.state))) == {"ingested"}
        assert session.scalars(select(Package)).all() == []


def test_conditions_are_asked_again_in_the_next_round(team, batch):
    services = team(BRAND, PEOPLE)
    package_id = freeze(services, batch)
    contracts.fill(services, version_id=batch[1][0], values={"tags": ["person"]}, person="libby")
    following = packages.revalidate(services, package_id=package_id)
    assert rows(services, following)["legal_reviewer"]["status"] == "open"


def test_a_stage_without_a_needed_seat_is_passed_over(team, batch):
    services = team(PEOPLE, BRAND | {"stage": 2})
    package_id = freeze(services, batch)
    assert [row["status"] for row in rows(services, package_id).values()] == ["not_needed", "open"]


# ------------------------------------------------------------------------------------ undo and conditions


def test_a_signature_is_taken_back_until_the_seat_is_closed_and_stays_in_the_record(team, batch):
    services = team(BRAND, LEGAL)
    package_id = freeze(services, batch)
    first = sign(services, package_id, "brand_reviewer", "bea")
    told = seats.undo(services, seat_id=first["seat_id"], person="bea")
    assert (told["decision_id"], told["seat_status"]) == (first["decision_id"], "open")
    row = rows(services, package_id)["brand_reviewer"]
    assert (row["status"], row["signatures"], row["signed_by"]) == ("open", [], None)
    assert [one["decision_id"] for one in row["withdrawn"]] == [first["decision_id"]]
    assert actions(services, package_id)[:2] == ["seat.withdrawn", "seat.signed"]
    with pytest.raises(seats.SeatRefused, match="bea has not signed"):
        seats.undo(services, seat_id=first["seat_id"], person="bea")
    # what was taken back counts for nothing: not in the verdict, and nobody is bound by it
    sign(services, package_id, "brand_reviewer", "bea", "request_changes")
    sign(services, package_id, "legal_reviewer", "lena")
    assert status(services, package_id) == "changes_requested"
    with pytest.raises(seats.PackageClosed, match="changes_requested"):
        seats.undo(services, seat_id=first["seat_id"], person="bea")


def test_nobody_takes_anothers_signature_back(team, batch):
    services = team(BRAND | {"signatures": 2})
    package_id = freeze(services, batch)
    given = sign(services, package_id, "brand_reviewer", "bea")
    with pytest.raises(seats.SeatRefused, match="maya has not signed"):
        seats.undo(services, seat_id=given["seat_id"], person="maya")
    with pytest.raises(IntegrityError, match="it is another's"), services.session() as session:
        session.execute(
            text("INSERT INTO withdrawals (decision_id, person, via, withdrawn_at) VALUES (:id, 'maya', 'x', now())"),
            {"id": given["decision_id"]},
        )


def test_a_seat_is_closed_when_those_after_it_are_asked(team, batch):
    services = team(BRAND, LEGAL | {"stage": 2})
    package_id = freeze(services, batch)
    given = sign(services, package_id, "brand_reviewer", "bea")
    assert status(services, package_id) is None
    with pytest.raises(seats.SeatRefused, match="those after it decide by its signatures already"):
        seats.undo(services, seat_id=given["seat_id"], person="bea")
    with pytest.raises(IntegrityError, match="its seat is closed"), services.session() as session:
        session.execute(
            text("INSERT INTO withdrawals (decision_id, person, via, withdrawn_at) VALUES (:id, 'bea', 'x', now())"),
            {"id": given["decision_id"]},
        )


@pytest.mark.parametrize("table", ["decisions", "withdrawals", "delegations", "fulfilments"])
def test_the_record_is_append_only(team, batch, table):
    services = team(BRAND, LEGAL)
    package_id = freeze(services, batch)
    given = sign(services, package_id, "brand_reviewer", "bea")
    seats.undo(services, seat_id=given["seat_id"], person="bea")
    seats.delegate(services, seat_id=given["seat_id"], person="bea", to="vic", why="Holiday.")
    tied = sign(services, package_id, "brand_reviewer", "maya", conditions="Mend it.")
    seats.condition_met(services, decision_id=tied["decision_id"], person="maya")
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(IntegrityError, match="append-only"), services.session() as session:
            session.execute(text(statement))


def test_an_answer_that_was_taken_back_is_not_recorded_late(team, batch):
    """Airflow may hear of an answer only after the room recorded it, and its signer took it back."""
    services = team(BRAND, LEGAL)
    package_id = freeze(services, batch)
    given_at = utcnow()
    given = sign(services, package_id, "brand_reviewer", "bea")
    seats.undo(services, seat_id=given["seat_id"], person="bea")
    with pytest.raises(seats.SeatRefused, match="bea took this answer back"):
        sign(services, package_id, "brand_reviewer", "bea", via="airflow", at=given_at)
    assert sign(services, package_id, "brand_reviewer", "bea", via="airflow", at=utcnow())["seat_status"] == "signed"


def test_a_conditional_approval_counts_and_its_condition_stays_until_it_is_met(team, batch):
    services = team(BRAND)
    package_id = freeze(services, batch)
    given = sign(services, package_id, "brand_reviewer", "bea", conditions="Mend the title by Monday.")
    assert status(services, package_id) == "approved"

    def condition():
        [signature] = rows(services, package_id)["brand_reviewer"]["signatures"]
        return signature["conditions"], signature["condition_met"]

    assert condition() == ("Mend the title by Monday.", None)
    with pytest.raises(seats.SeatRefused, match="dario may not say"):
        seats.condition_met(services, decision_id=given["decision_id"], person="dario")
    for person in ("momo", "bea"):  # the second changes nothing
        seats.condition_met(services, decision_id=given["decision_id"], person=person, note="It is.")
    assert condition()[1]["person"] == "momo"
    assert actions(services, package_id).count("condition.met") == 1


def test_a_condition_needs_an_approval_and_one_to_be_met(team, batch):
    services = team(BRAND)
    package_id = freeze(services, batch)
    with pytest.raises(BadInput, match="only an approval has conditions"):
        sign(services, package_id, "brand_reviewer", "bea", "request_changes", conditions="Mend it.")
    given = sign(services, package_id, "brand_reviewer", "bea")
    with pytest.raises(BadInput, match="there is no condition"):
        seats.condition_met(services, decision_id=given["decision_id"], person="bea")
    with pytest.raises(NotFound):
        seats.condition_met(services, decision_id="dec_none", person="bea")


@pytest.mark.parametrize("comment", ["", "  "])
def test_to_reject_takes_a_reason(team, batch, comment):
    services = team(BRAND)
    package_id = freeze(services, batch)
    with pytest.raises(BadInput, match="to reject takes a reason"):
        sign(services, package_id, "brand_reviewer", "bea", "reject", comment=comment)
    own = {batch[1][0]: {"verdict": "reject", "comment": comment}}
    with pytest.raises(BadInput, match="to reject takes a reason"):
        sign(services, package_id, "brand_reviewer", "bea", comment=comment, versions=own)
    own = {batch[1][0]: {"verdict": "reject", "comment": "Out of focus."}}
    sign(services, package_id, "brand_reviewer", "bea", comment=comment, versions=own)
    assert packages.verdict(services, package_id=package_id)["rejected"] == batch[1][:1]


def test_the_must_fixes_that_are_open_are_frozen_into_the_decision(team, batch):
    services = team(BRAND)
    package_id = freeze(services, batch)
    first, second = batch[1]
    known = {"package_id": package_id, "person": "bea"}
    dark, done = (
        notes.add(services, **known, version_id=first, body=body, kind="must_fix")["annotation_id"]
        for body in ("Too dark.", "Crop it.")
    )
    notes.resolve(services, annotation_id=done, person="bea")
    notes.add(services, **known, version_id=first, body="Nice cup.")
    notes.add(services, **known, version_id=second, body="Straighten it.", kind="must_fix")
    sign(services, package_id, "brand_reviewer", "bea", versions={first: {"verdict": "request_changes"}})
    notes.resolve(services, annotation_id=dark, person="bea")
    [signature] = rows(services, package_id)["brand_reviewer"]["signatures"]
    assert [(fix["annotation_id"], fix["body"]) for fix in signature["must_fixes"]] == [(dark, "Too dark.")]


# ------------------------------------------------------------------------------------------------ deputies


def away(services, person, deputy, *, hours=(-1, 24), by=None):
    start, until = (utcnow() + timedelta(hours=number) for number in hours)
    return seats.away(services, person=person, deputy=deputy, start=start, until=until, by=by)


def test_a_deputy_signs_for_somebody_who_is_away_and_it_shows(team, batch):
    services = team(BRAND, LEGAL)
    away(services, "lena", "vic")
    package_id = freeze(services, batch)
    assert rows(services, package_id)["legal_reviewer"]["deputies"] == {"vic": "lena"}
    [mine] = queries.my_open_seats(services, person="vic")
    assert (mine["role"], mine["on_behalf_of"]) == ("legal_reviewer", "lena")
    assert sign(services, package_id, "legal_reviewer", "vic")["on_behalf_of"] == "lena"
    with services.session() as session:
        [event] = [e for e in audit.history(session, package_id) if e.action == "seat.signed"]
        assert (event.actor, event.data["on_behalf_of"]) == ("vic", "lena")
    assert queries.my_open_seats(services, person="vic") == []
    assert queries.my_open_seats(services, person="lena") == []


@pytest.mark.parametrize("hours", [(-2, -1), (1, 2)], ids=["over", "not yet"])
def test_a_deputy_is_one_only_meanwhile(team, batch, hours):
    services = team(BRAND, LEGAL)
    if hours[1] > 0:
        away(services, "lena", "vic", hours=hours)
    else:
        absence = away(services, "lena", "vic")
        seats.back(services, absence_id=absence, by="lena")
    package_id = freeze(services, batch)
    assert rows(services, package_id)["legal_reviewer"]["deputies"] == {}
    with pytest.raises(seats.SeatRefused, match="vic may not take the seat of the legal reviewer"):
        sign(services, package_id, "legal_reviewer", "vic")


@pytest.mark.parametrize("deputy", ["bea", "dario"], ids=["has a seat", "made it"])
def test_who_made_it_or_has_a_seat_is_no_deputy(team, batch, deputy):
    services = team(BRAND, LEGAL)
    away(services, "lena", deputy)
    package_id = freeze(services, batch)
    assert rows(services, package_id)["legal_reviewer"]["deputies"] == {}
    with pytest.raises(seats.SeatRefused):
        sign(services, package_id, "legal_reviewer", deputy)
    seat_id = rows(services, package_id)["legal_reviewer"]["seat_id"]
    with pytest.raises(seats.SeatRefused, match=r"made or sent|has a seat"):
        seats.delegate(services, seat_id=seat_id, person="lena", to=deputy, why="Busy.")
    assert [row["role"] for row in queries.my_open_seats(services, person="bea")] == ["brand_reviewer"]


def test_nobody_signs_twice_by_standing_in(team, batch):
    services = team(BRAND | {"signatures": 2}, LEGAL)
    for person in ("bea", "lena"):
        away(services, person, "vic")
    package_id = freeze(services, batch)
    sign(services, package_id, "legal_reviewer", "vic")
    with pytest.raises(seats.SeatRefused, match="vic has signed as legal reviewer already"):
        sign(services, package_id, "brand_reviewer", "vic")
    with pytest.raises(seats.SeatRefused, match="vic has signed this seat already"):
        sign(services, package_id, "legal_reviewer", "lena")


def test_who_hands_a_seat_on_may_sign_but_not_both(team, batch):
    services = team(BRAND | {"signatures": 2})
    package_id = freeze(services, batch)
    seat_id = rows(services, package_id)["brand_reviewer"]["seat_id"]
    for _ in range(2):
        seats.delegate(services, seat_id=seat_id, person="bea", to="vic", why="On a train.")
    assert actions(services, package_id).count("seat.delegated") == 1
    assert rows(services, package_id)["brand_reviewer"]["delegations"][0]["why"] == "On a train."
    assert [row["on_behalf_of"] for row in queries.my_open_seats(services, person="vic")] == ["bea"]
    assert sign(services, package_id, "brand_reviewer", "vic")["on_behalf_of"] == "bea"
    with pytest.raises(seats.SeatRefused, match="bea has signed as brand reviewer already, by vic"):
        sign(services, package_id, "brand_reviewer", "bea")
    seats.undo(services, seat_id=seat_id, person="vic")
    assert sign(services, package_id, "brand_reviewer", "bea")["on_behalf_of"] is None
    with pytest.raises(seats.SeatRefused, match="bea has signed"):
        sign(services, package_id, "brand_reviewer", "vic")


def test_a_seat_is_handed_on_by_its_people_for_a_reason_to_somebody_known(team, batch):
    services = team(BRAND, LEGAL)
    package_id = freeze(services, batch)
    known = {"seat_id": rows(services, package_id)["legal_reviewer"]["seat_id"]}
    with pytest.raises(BadInput, match="for a reason"):
        seats.delegate(services, **known, person="lena", to="vic", why=" ")
    with pytest.raises(BadInput, match="nobody is called 'eve'"):
        seats.delegate(services, **known, person="lena", to="eve", why="Busy.")
    with pytest.raises(seats.SeatRefused, match="may not take this seat"):
        seats.delegate(services, **known, person="libby", to="vic", why="Busy.")
    sign(services, package_id, "legal_reviewer", "lena")
    with pytest.raises(seats.SeatRefused, match="the seat is signed"):
        seats.delegate(services, **known, person="lena", to="vic", why="Busy.")


def test_absences_are_ones_own_and_in_order(team):
    services = team(BRAND)
    with pytest.raises(Refused, match="bea may not enter when lena is away"):
        away(services, "lena", "vic", by="bea")
    assert away(services, "lena", None, by="ada").startswith("abs_")
    with pytest.raises(BadInput, match="ends after it begins"):
        away(services, "lena", "vic", hours=(2, 1))
    with pytest.raises(BadInput, match="not in the past"):
        away(services, "lena", "vic", hours=(-3, -1))
    with pytest.raises(BadInput, match="stands in for himself"):
        away(services, "lena", "lena")
    naive = utcnow().replace(tzinfo=None)
    with pytest.raises(BadInput, match="needs its zone"):
        seats.away(services, person="lena", start=naive, until=naive + timedelta(days=1))
    [told] = seats.absences(services)
    assert (told["person"], told["deputy"], told["entered_by"]) == ("lena", None, "ada")
    with pytest.raises(BadInput, match="300 characters at most"):
        seats.away(services, person="bea", start=utcnow(), until=utcnow() + timedelta(days=1), reason="x" * 301)
    with pytest.raises(Refused, match="bea may not"):
        seats.back(services, absence_id=told["absence_id"], by="bea")
    seats.back(services, absence_id=told["absence_id"], by="lena")
    assert seats.absences(services) == []
    with pytest.raises(NotFound):
        seats.back(services, absence_id="abs_none", by="ada")


# -------------------------------------------------------------------------------------- what changed, in words


def test_what_changed_is_told_in_words_by_version_and_part(team, batch):
    services = team(BRAND)
    package_id = freeze(services, batch)
    assert packages.what_changed(services, package_id=package_id) == []
    first, second = batch[1]
    contracts.fill(services, version_id=first, values={"title": "Another", "tags": ["cat"]}, person="libby")
    contracts.fill(
        services,
        version_id=second,
        values={"licence": "ACME-9", "holder": "ACME", "territories": ["DE"]},
        person="libby",
    )
    one, other = packages.what_changed(services, package_id=package_id)
    assert one["version_id"] == first
    assert one["changes"] == {
        "metadata": ["The title was “SPRING27-HERO-A” and is “Another” now."],
        "tags": ["A tag was added: cat."],
    }
    assert other["changes"]["rights"] == ["The licence ACME-9 was added."]
    following = packages.revalidate(services, package_id=package_id)
    contracts.fill(services, version_id=first, values={"title": "A third"}, person="libby")
    told = packages.what_changed(services, package_id=package_id)  # up to the next round, and no further
    assert told[0]["changes"]["metadata"] == ["The title was “SPRING27-HERO-A” and is “Another” now."]
    [later] = packages.what_changed(services, package_id=following)
    assert later["changes"] == {"metadata": ["The title was “Another” and is “A third” now."]}
    with services.session() as session:
        reason = session.get_one(Package, package_id).void_reason
    assert reason.startswith("changed after it was frozen: SPRING27-HERO-A_ACME")
    assert "(metadata, tags)" in reason


# ---------------------------------------------------------------------------- the rest goes on, or waits


def answer(services, version_id):
    """Deliver the next version of an asset, ingested, in a batch of its own; return the batch's and its id."""
    with services.session() as session:
        before = session.get_one(Version, version_id)
        again = Batch(source="inbox", location=f"drops/{new_id('x')}", sent_by="dario")
        session.add(again)
        session.flush()
        version = Version(
            asset_id=before.asset_id, number=before.number + 1, batch=again, filename="again.jpg",
            sha256=hashlib.sha256(f"{version_id}/again".encode()).hexdigest(), bytes=1001, media_type="image/jpeg",
            storage_uri="vault:none", made_by="dario",
        )  # fmt: skip
        world.bring_to(session, version, "ingested")
        return again.id, version.id


def changes_to_the_first(services, batch):
    """Review a package so that changes to its first version are asked for; return its id and the verdict."""
    package_id = freeze(services, batch)
    asked = {batch[1][0]: {"verdict": "request_changes"}}
    sign(services, package_id, "brand_reviewer", "bea", versions=asked)
    return package_id, packages.verdict(services, package_id=package_id)


def test_the_rest_goes_on_by_itself(team, batch):
    services = team(BRAND)
    _, told = changes_to_the_first(services, batch)
    assert (told["waits_for"], told["approved"]) == ([], batch[1][1:])


def test_the_rest_waits_until_the_answer_is_approved(team, batch):
    from dam.channels import publish

    services = team(BRAND, rest="waits")
    package_id, told = changes_to_the_first(services, batch)
    [waited] = told["waits_for"]
    assert waited.startswith("SPRING27-HERO-A_ACME")
    with pytest.raises(Refused, match="goes out as one, and changes are asked for: SPRING27-HERO-A_ACME"):
        publish.plan(services, package_id=package_id)
    batch_id, version_id = answer(services, batch[1][0])
    second = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    assert packages.versions(services, package_id=second) == [version_id]  # just those
    sign(services, second, "brand_reviewer", "bea", "request_changes")
    assert packages.verdict(services, package_id=second)["freed"] == []
    batch_id, version_id = answer(services, version_id)
    third = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    sign(services, third, "brand_reviewer", "bea")
    assert packages.verdict(services, package_id=third)["freed"] == [package_id]
    assert packages.verdict(services, package_id=package_id)["waits_for"] == []
    assert publish.plan(services, package_id=package_id)["void"] is False


def test_a_next_round_of_what_waits_waits_too(team, batch):
    services = team(BRAND, rest="waits")
    package_id, _ = changes_to_the_first(services, batch)
    contracts.fill(services, version_id=batch[1][1], values={"title": "Another"}, person="libby")
    following = packages.revalidate(services, package_id=package_id)
    sign(services, following, "brand_reviewer", "bea")
    assert packages.verdict(services, package_id=following)["waits_for"]
    batch_id, version_id = answer(services, batch[1][0])
    second = packages.freeze(services, batch_id=batch_id, version_ids=[version_id])
    sign(services, second, "brand_reviewer", "bea")
    assert packages.verdict(services, package_id=second)["freed"] == [following]


def test_a_marketing_lead_lets_the_rest_go(team, batch):
    services = team(BRAND, rest="waits")
    package_id, _ = changes_to_the_first(services, batch)
    with pytest.raises(Refused, match="may not"):
        packages.let_go(services, package_id=package_id, person="bea")
    for _ in range(2):
        packages.let_go(services, package_id=package_id, person="maya")
    assert packages.verdict(services, package_id=package_id)["waits_for"] == []
    assert actions(services, package_id).count("package.let_go") == 1


def test_what_does_not_wait_is_not_let_go(team, batch):
    services = team(BRAND)
    package_id, _ = changes_to_the_first(services, batch)
    with pytest.raises(Refused, match="waits for nothing"):
        packages.let_go(services, package_id=package_id, person="maya")


# -------------------------------------------------------------------------------- one line, one open round


def test_a_newer_version_takes_the_older_ones_place_and_the_rest_goes_on(team, batch):
    services = team(BRAND)
    package_id = freeze(services, batch)
    first, second = batch[1]
    batch_id, newer = answer(services, first)
    taken = packages.freeze(services, batch_id=batch_id, version_ids=[newer])
    told = packages.verdict(services, package_id=package_id)
    assert told["status"] == "void"
    assert packages.versions(services, package_id=told["next_package_id"]) == [second]
    assert packages.displaced(services, package_id=taken) == [told["next_package_id"]]
    assert packages.freeze(services, batch_id=batch_id, version_ids=[newer]) == taken
    with services.session() as session:
        package = session.get_one(Package, package_id)
        assert package.void_reason.startswith("a newer version took its place: SPRING27-HERO-A_ACME")
        assert session.get_one(Version, first).state == "ingested"
    with pytest.raises(Refused, match=r"version 2 of SPRING27-HERO-A_ACME.* is being reviewed, which is newer"):
        packages.freeze(services, batch_id=batch[0], version_ids=[first])
    for one in (taken, told["next_package_id"]):
        sign(services, one, "brand_reviewer", "bea")
        assert status(services, one) == "approved"


def test_a_newer_version_ends_a_round_that_held_nothing_else(team, batch):
    services = team(BRAND)
    package_id = packages.freeze(services, batch_id=batch[0], version_ids=batch[1][:1])
    batch_id, newer = answer(services, batch[1][0])
    taken = packages.freeze(services, batch_id=batch_id, version_ids=[newer])
    told = packages.verdict(services, package_id=package_id)
    assert (told["status"], told["next_package_id"]) == ("void", None)
    assert packages.displaced(services, package_id=taken) == []


def test_what_expired_is_not_reopened_beside_its_newer_version(team, batch):
    services = team(BRAND)
    package_id = packages.freeze(services, batch_id=batch[0], version_ids=batch[1][:1])
    seats.expire(services, seat_id=rows(services, package_id)["brand_reviewer"]["seat_id"])
    assert status(services, package_id) == "expired"
    batch_id, newer = answer(services, batch[1][0])
    packages.freeze(services, batch_id=batch_id, version_ids=[newer])
    with pytest.raises(Refused, match="newer versions of all that it holds are being reviewed"):
        packages.reopen_expired(services, package_id=package_id, person="maya")


def test_of_two_versions_of_one_asset_the_newest_is_frozen(team, batch):
    services = team(BRAND)
    _, newer = answer(services, batch[1][0])
    with services.session() as session:
        session.execute(text("UPDATE versions SET batch_id = :batch WHERE id = :id"), {"batch": batch[0], "id": newer})
    package_id = packages.freeze(services, batch_id=batch[0], version_ids=[*batch[1], newer])
    assert sorted(packages.versions(services, package_id=package_id)) == sorted([batch[1][1], newer])


def test_the_database_knows_one_open_round_an_asset(team, batch):
    services = team(BRAND)
    package_id = packages.freeze(services, batch_id=batch[0], version_ids=batch[1][:1])
    other = packages.freeze(services, batch_id=batch[0], version_ids=batch[1][1:])
    with pytest.raises(IntegrityError, match="is in the open review of package"), services.session() as session:
        session.execute(
            text("INSERT INTO package_versions (package_id, version_id, entry_sha256) VALUES (:package, :version, '')"),
            {"package": other, "version": batch[1][0]},
        )
    assert packages.versions(services, package_id=package_id) == batch[1][:1]


def test_two_versions_that_are_frozen_at_once_end_in_one_round(team, batch):
    services = team(BRAND)
    batch_id, newer = answer(services, batch[1][0])
    told = []

    def freeze_one(known):
        try:
            told.append(packages.freeze(services, **known))
        except Refused as refused:
            told.append(refused.what)

    jobs = [{"batch_id": batch[0], "version_ids": batch[1][:1]}, {"batch_id": batch_id, "version_ids": [newer]}]
    threads = [threading.Thread(target=freeze_one, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with services.session() as session:
        asset_id = session.get_one(Asset, session.get_one(Version, newer).asset_id).id
        open_ = session.scalars(
            select(Version.number)
            .join(Package.entries)
            .join(Version, Version.asset_id == asset_id)
            .where(Package.status == "in_review", Version.state == "in_review")
            .distinct()
        ).all()
    assert open_ == [2]


def test_conditions_of_seats_have_no_unknown_words():
    with pytest.raises(ValueError, match="Extra inputs"):
        When.model_validate({"people": True})


def test_open_reviews_outlive_the_upgrade_and_the_way_back(team, batch):
    services = team(BRAND, LEGAL)
    package_id = freeze(services, batch)
    sign(services, package_id, "brand_reviewer", "bea")
    for migrate, revision in ((catalog.downgrade, "0015"), (catalog.upgrade, "head")):
        services.engine.dispose()
        migrate(services.settings.catalog_url, revision)
    legal = rows(services, package_id)["legal_reviewer"]
    assert (legal["status"], legal["stage"], legal["needed"]) == ("open", 1, 1)
    assert legal["opens_at"]
    sign(services, package_id, "legal_reviewer", "lena")
    assert status(services, package_id) == "approved"


def test_a_signature_that_was_taken_back_keeps_the_catalogue_from_going_back(team, batch):
    services = team(BRAND)
    package_id = freeze(services, batch)
    given = sign(services, package_id, "brand_reviewer", "bea")
    seats.undo(services, seat_id=given["seat_id"], person="bea")
    services.engine.dispose()
    with pytest.raises(IntegrityError, match="signatures were taken back"):
        catalog.downgrade(services.settings.catalog_url, "0015")
    assert len(rows(services, package_id)["brand_reviewer"]["withdrawn"]) == 1
